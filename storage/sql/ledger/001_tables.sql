-- What the journals hold, one table per kind of fact, appended to by the recorder and never updated (but offsets).
-- Schema `journal`: facts that views below put together for people. Schema `main`: facts that people read as they are.
-- `journal` and `seq` name the row of the journal that a fact came from. No keys, no indexes: zone maps suffice.

-- How far each journal has been drained; written in the transaction of the rows themselves.
CREATE TABLE journal.offsets (
    journal_id VARCHAR PRIMARY KEY,
    journal    VARCHAR NOT NULL,
    seq        BIGINT NOT NULL,
    newest_at  TIMESTAMPTZ,
    drained_at TIMESTAMPTZ NOT NULL
);

CREATE TABLE journal.trade_intents (
    "at" TIMESTAMPTZ NOT NULL, trade_id VARCHAR NOT NULL, pair_id VARCHAR NOT NULL, signal_id VARCHAR,
    side VARCHAR, symbol_a VARCHAR, symbol_b VARCHAR,
    hedge_ratio DOUBLE, spread_mean DOUBLE, spread_std DOUBLE,
    entry_z DOUBLE, exit_threshold DOUBLE, stop_z DOUBLE, time_stop_at TIMESTAMPTZ,
    quantity_a DECIMAL(38, 18), quantity_b DECIMAL(38, 18), price_a DECIMAL(38, 18), price_b DECIMAL(38, 18),
    hedge_error DOUBLE, expected_edge_usd DECIMAL(38, 18), costs JSON,
    journal VARCHAR NOT NULL, seq BIGINT NOT NULL
);

CREATE TABLE journal.trade_steps (
    "at" TIMESTAMPTZ NOT NULL, trade_id VARCHAR NOT NULL, pair_id VARCHAR, status VARCHAR, reason VARCHAR,
    exit_z DOUBLE, exit_reason VARCHAR, naked_seconds DOUBLE, leg_skew_ms DOUBLE, facts JSON,
    journal VARCHAR NOT NULL, seq BIGINT NOT NULL
);

CREATE TABLE journal.order_intents (
    "at" TIMESTAMPTZ NOT NULL, client_order_id VARCHAR NOT NULL, trade_id VARCHAR, pair_id VARCHAR,
    leg VARCHAR, purpose VARCHAR, symbol VARCHAR, side VARCHAR, type VARCHAR, time_in_force VARCHAR,
    quantity DECIMAL(38, 18), limit_price DECIMAL(38, 18), reduce_only BOOLEAN, attempt BIGINT,
    journal VARCHAR NOT NULL, seq BIGINT NOT NULL
);

CREATE TABLE journal.order_steps (
    "at" TIMESTAMPTZ NOT NULL, client_order_id VARCHAR NOT NULL, trade_id VARCHAR, change VARCHAR, status VARCHAR,
    exchange_order_id VARCHAR, filled DECIMAL(38, 18), average_price DECIMAL(38, 18), source VARCHAR, reason VARCHAR,
    journal VARCHAR NOT NULL, seq BIGINT NOT NULL
);

CREATE TABLE journal.signals_received (
    "at" TIMESTAMPTZ NOT NULL, signal_id VARCHAR NOT NULL, pair_id VARCHAR, signal_type VARCHAR,
    z_score DOUBLE, spread DOUBLE, price_a DOUBLE, price_b DOUBLE,
    journal VARCHAR NOT NULL, seq BIGINT NOT NULL
);

CREATE TABLE journal.signals_resolved (
    "at" TIMESTAMPTZ NOT NULL, signal_id VARCHAR NOT NULL, pair_id VARCHAR, outcome VARCHAR, reason VARCHAR,
    trade_id VARCHAR, facts JSON,
    journal VARCHAR NOT NULL, seq BIGINT NOT NULL
);

CREATE TABLE journal.runs_started (
    "at" TIMESTAMPTZ NOT NULL, run_id VARCHAR NOT NULL, trading_mode VARCHAR, dry_run BOOLEAN, version VARCHAR,
    config_sha256 VARCHAR, pairs_sha256 VARCHAR,
    journal VARCHAR NOT NULL, seq BIGINT NOT NULL
);

CREATE TABLE journal.runs_stopped (
    "at" TIMESTAMPTZ NOT NULL, run_id VARCHAR NOT NULL, reason VARCHAR, uptime_seconds DOUBLE,
    signals_processed BIGINT, trades_executed BIGINT, success_rate DOUBLE,
    journal VARCHAR NOT NULL, seq BIGINT NOT NULL
);

-- The product of quantity and price is stored: DECIMAL cannot multiply this wide without overflowing.
-- fee_usd is NULL for a fee that was not paid in dollars (BNB, say).
CREATE TABLE fills (
    "at" TIMESTAMPTZ NOT NULL, symbol VARCHAR NOT NULL, exchange_trade_id VARCHAR NOT NULL, exchange_order_id VARCHAR,
    client_order_id VARCHAR, trade_id VARCHAR, pair_id VARCHAR, leg VARCHAR, purpose VARCHAR, side VARCHAR,
    quantity DECIMAL(38, 18), price DECIMAL(38, 18), notional_usd DECIMAL(38, 18),
    fee DECIMAL(38, 18), fee_asset VARCHAR, fee_usd DECIMAL(38, 18), seen_at TIMESTAMPTZ,
    journal VARCHAR NOT NULL, seq BIGINT NOT NULL
);

CREATE TABLE fundings (
    "at" TIMESTAMPTZ NOT NULL, trade_id VARCHAR, symbol VARCHAR, amount_usd DECIMAL(38, 18), transaction_id VARCHAR,
    journal VARCHAR NOT NULL, seq BIGINT NOT NULL
);

CREATE TABLE spreads (
    "at" TIMESTAMPTZ NOT NULL, pair_id VARCHAR NOT NULL, price_a DOUBLE, price_b DOUBLE, spread DOUBLE, z_score DOUBLE,
    journal VARCHAR NOT NULL, seq BIGINT NOT NULL
);

CREATE TABLE equity (
    "at" TIMESTAMPTZ NOT NULL, wallet_usd DECIMAL(38, 18), unrealized_usd DECIMAL(38, 18),
    journal VARCHAR NOT NULL, seq BIGINT NOT NULL
);

CREATE TABLE pair_freezes (
    "at" TIMESTAMPTZ NOT NULL, pair_id VARCHAR NOT NULL, until TIMESTAMPTZ, reason VARCHAR,
    journal VARCHAR NOT NULL, seq BIGINT NOT NULL
);

CREATE TABLE events (
    "at" TIMESTAMPTZ NOT NULL, level VARCHAR, event VARCHAR, pair_id VARCHAR, trade_id VARCHAR, facts JSON,
    journal VARCHAR NOT NULL, seq BIGINT NOT NULL
);

CREATE TABLE calibrations (
    run_id VARCHAR NOT NULL, "at" TIMESTAMPTZ NOT NULL, pair_id VARCHAR, symbol_a VARCHAR, symbol_b VARCHAR,
    hedge_ratio DOUBLE, intercept DOUBLE, spread_std DOUBLE, t_stat DOUBLE, p_value DOUBLE, q_value DOUBLE,
    half_life DOUBLE, observations BIGINT, previous_hedge_ratio DOUBLE, decision VARCHAR, reason VARCHAR,
    journal VARCHAR NOT NULL, seq BIGINT NOT NULL
);

CREATE TABLE reconciliations (
    run_id VARCHAR NOT NULL, "at" TIMESTAMPTZ NOT NULL, verdict VARCHAR, symbols_checked BIGINT, detail VARCHAR,
    journal VARCHAR NOT NULL, seq BIGINT NOT NULL
);

CREATE TABLE reconciliation_items (
    run_id VARCHAR NOT NULL, "at" TIMESTAMPTZ NOT NULL, symbol VARCHAR, pair_id VARCHAR,
    ledger_quantity DECIMAL(38, 18), exchange_quantity DECIMAL(38, 18), explanation VARCHAR, action VARCHAR,
    journal VARCHAR NOT NULL, seq BIGINT NOT NULL
);

CREATE TABLE health_checks (
    run_id VARCHAR NOT NULL, "at" TIMESTAMPTZ NOT NULL, name VARCHAR, status VARCHAR, detail VARCHAR,
    journal VARCHAR NOT NULL, seq BIGINT NOT NULL
);
