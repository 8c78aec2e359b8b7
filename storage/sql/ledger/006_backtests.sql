-- What a backtest found, apart from what the account did: nothing here is in `pair_trades`, `fills` or any sum over them.
CREATE TABLE backtests (
    run_id VARCHAR NOT NULL, "at" TIMESTAMPTZ NOT NULL, mode VARCHAR, from_at TIMESTAMPTZ, to_at TIMESTAMPTZ, timeframe VARCHAR,
    parameters JSON, data_hash VARCHAR, pairs BIGINT, trades BIGINT, wins BIGINT,
    gross_usd DECIMAL(38, 18), fees_usd DECIMAL(38, 18), funding_usd DECIMAL(38, 18), net_usd DECIMAL(38, 18),
    drawdown_usd_max DECIMAL(38, 18), turnover_usd DECIMAL(38, 18), exposure_usd_average DECIMAL(38, 18),
    cost_sensitivity JSON, stretches JSON, seconds DOUBLE, notes JSON,
    journal VARCHAR NOT NULL, seq BIGINT NOT NULL
);

-- Columns are named as in `pair_trades`.
CREATE TABLE backtest_trades (
    run_id VARCHAR NOT NULL, trade_id VARCHAR, pair_id VARCHAR, symbol_a VARCHAR, symbol_b VARCHAR, side VARCHAR,
    opened_at TIMESTAMPTZ, closed_at TIMESTAMPTZ, hedge_ratio DOUBLE, entry_z DOUBLE, exit_z DOUBLE, exit_reason VARCHAR,
    quantity_a DECIMAL(38, 18), quantity_b DECIMAL(38, 18),
    entry_price_a DECIMAL(38, 18), entry_price_b DECIMAL(38, 18), exit_price_a DECIMAL(38, 18), exit_price_b DECIMAL(38, 18),
    gross_pnl_usd DECIMAL(38, 18), fees_usd DECIMAL(38, 18), funding_usd DECIMAL(38, 18), net_pnl_usd DECIMAL(38, 18),
    expected_edge_usd DECIMAL(38, 18),
    journal VARCHAR NOT NULL, seq BIGINT NOT NULL
);
