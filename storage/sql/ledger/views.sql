-- Views that replay the facts. Each aggregates once per table and joins the results: no correlated subqueries.
-- Laid anew whenever the working file is opened: change them here, and only their tables need a numbered script.

CREATE OR REPLACE VIEW signals AS
WITH resolved AS (
    SELECT signal_id, max("at") AS resolved_at, arg_max(outcome, seq) AS outcome, arg_max(reason, seq) AS reason,
           max_by(trade_id, seq) FILTER (trade_id IS NOT NULL) AS trade_id, arg_max(facts, seq) AS facts
    FROM journal.signals_resolved GROUP BY signal_id
)
SELECT signal_id, received."at", received.pair_id, received.signal_type, received.z_score,
       resolved.outcome, resolved.reason, resolved.trade_id,
       received.spread, received.price_a, received.price_b, resolved.resolved_at, resolved.facts
FROM journal.signals_received AS received LEFT JOIN resolved USING (signal_id);

-- The intent is an order's first step.
CREATE OR REPLACE VIEW order_events AS
WITH steps AS (
    SELECT "at", client_order_id, NULL::VARCHAR AS change, 'intended' AS status, NULL::VARCHAR AS exchange_order_id,
           0::DECIMAL(38, 18) AS filled, NULL::DECIMAL(38, 18) AS average_price, 'intent' AS source, '' AS reason, seq,
           NULL::VARCHAR AS refusal_kind, NULL::VARCHAR AS refusal_code
    FROM journal.order_intents
    UNION ALL
    SELECT "at", client_order_id, change, status, exchange_order_id, filled, average_price, source, reason, seq,
           refusal_kind, refusal_code
    FROM journal.order_steps
)
SELECT steps.client_order_id, steps.exchange_order_id, intent.trade_id, intent.leg, intent.symbol, intent.side,
       intent.type, intent.reduce_only, intent.quantity, steps.filled, steps.average_price, steps.status, steps."at",
       steps.change, steps.source, steps.reason, intent.pair_id, intent.purpose, intent.attempt, steps.seq,
       steps.refusal_kind, steps.refusal_code
FROM steps LEFT JOIN journal.order_intents AS intent USING (client_order_id);

-- News comes late and out of order: the newest status, but the greatest filled quantity and its price.
CREATE OR REPLACE VIEW orders AS
WITH latest AS (
    SELECT client_order_id, max("at") AS "at", arg_max(status, seq) AS status, arg_max(reason, seq) AS reason,
           arg_max(exchange_order_id, seq) FILTER (exchange_order_id IS NOT NULL) AS exchange_order_id,
           max(filled) AS filled,
           arg_max(refusal_kind, seq) FILTER (status IN ('refused', 'unknown', 'dead')) AS refusal_kind,
           arg_max(refusal_code, seq) FILTER (status IN ('refused', 'unknown', 'dead')) AS refusal_code,
           arg_max(average_price, (filled, seq)) FILTER (average_price IS NOT NULL) AS average_price
    FROM journal.order_steps GROUP BY client_order_id
)
SELECT intent.client_order_id, latest.exchange_order_id, intent.trade_id, intent.leg, intent.symbol, intent.side,
       intent.type, intent.reduce_only, intent.quantity, coalesce(latest.filled, 0) AS filled, latest.average_price,
       coalesce(latest.status, 'intended') AS status, coalesce(latest."at", intent."at") AS "at",
       intent."at" AS intended_at, latest.reason, intent.pair_id, intent.purpose, intent.attempt,
       intent.time_in_force, intent.limit_price, latest.refusal_kind, latest.refusal_code
FROM journal.order_intents AS intent LEFT JOIN latest USING (client_order_id);

CREATE OR REPLACE VIEW positions AS
SELECT symbol, sum(CASE side WHEN 'buy' THEN quantity ELSE -quantity END) AS quantity, max("at") AS last_fill_at
FROM fills WHERE trade_id IS NOT NULL GROUP BY symbol HAVING quantity <> 0;

CREATE OR REPLACE VIEW pair_trades AS
WITH steps AS (
    SELECT trade_id, arg_max(status, seq) AS status, arg_max(reason, seq) AS status_reason, max("at") AS advanced_at,
           min("at") FILTER (status = 'open') AS opened_at,
           max("at") FILTER (status IN ('closed', 'rolled_back')) AS over_at,
           arg_max(exit_z, seq) FILTER (exit_z IS NOT NULL) AS exit_z,
           arg_max(exit_reason, seq) FILTER (exit_reason IS NOT NULL) AS exit_reason,
           arg_max(naked_seconds, seq) FILTER (naked_seconds IS NOT NULL) AS naked_seconds,
           arg_max(naked_notional_usd_seconds, seq) FILTER (naked_notional_usd_seconds IS NOT NULL)
               AS naked_notional_usd_seconds,
           arg_max(leg_skew_ms, seq) FILTER (leg_skew_ms IS NOT NULL) AS leg_skew_ms,
           arg_max(reason, seq) FILTER (status = 'opening' AND reason IN ('complete', 'trim', 'unwind')) AS completion,
           arg_max(facts, seq) FILTER (status = 'opening' AND reason IN ('complete', 'trim', 'unwind'))
               AS completion_facts,
           arg_max(facts, seq) FILTER (status = 'opening' AND reason = 'rested') AS limit_entry,
           min(seq) FILTER (status = 'closing') AS closing_seq,
           arg_min(price_a, seq) FILTER (status = 'closing' AND price_a IS NOT NULL) AS exit_decision_price_a,
           arg_min(price_b, seq) FILTER (status = 'closing' AND price_b IS NOT NULL) AS exit_decision_price_b
    FROM journal.trade_steps GROUP BY trade_id
),
legs AS (  -- One row per trade, leg and direction of travel.
    SELECT trade_id, leg, purpose = 'entry' AS entry, sum(quantity) AS quantity, sum(notional_usd) AS notional_usd,
           sum(CASE side WHEN 'buy' THEN quantity ELSE -quantity END) AS net_quantity,
           sum(CASE side WHEN 'buy' THEN -notional_usd ELSE notional_usd END) AS cash_usd,
           sum(fee_usd) AS fees_usd, count(*) FILTER (fee_usd IS NULL) AS fees_unpriced, count(*) AS fills,
           -- A division gives a DOUBLE; one price stays exactly what it was.
           CASE WHEN min(price) = max(price) THEN min(price)
                ELSE round(sum(notional_usd) / sum(quantity), 12)::DECIMAL(38, 18) END AS price
    FROM fills WHERE trade_id IS NOT NULL GROUP BY ALL
),
filled AS (
    SELECT trade_id, sum(fees_usd) AS fees_usd, sum(cash_usd) AS cash_usd, sum(fees_unpriced)::BIGINT AS fees_unpriced,
           sum(fills)::BIGINT AS fills, sum(notional_usd) AS turnover_usd,
           coalesce(sum(quantity) FILTER (entry), 0) AS entered,
           sum(quantity) FILTER (entry AND leg = 'a') AS quantity_a,
           sum(quantity) FILTER (entry AND leg = 'b') AS quantity_b,
           sum(notional_usd) FILTER (entry AND leg = 'b') AS notional_b_usd,
           any_value(price) FILTER (entry AND leg = 'a') AS entry_price_a,
           any_value(price) FILTER (entry AND leg = 'b') AS entry_price_b,
           any_value(price) FILTER (NOT entry AND leg = 'a') AS exit_price_a,
           any_value(price) FILTER (NOT entry AND leg = 'b') AS exit_price_b,
           sum(net_quantity) FILTER (leg = 'a') AS held_a,
           sum(net_quantity) FILTER (leg = 'b') AS held_b
    FROM legs GROUP BY trade_id
),
funded AS (
    SELECT trade_id, sum(amount_usd) AS funding_usd FROM fundings WHERE trade_id IS NOT NULL GROUP BY trade_id
),
paid AS (  -- Exact and by coin: what was not paid in dollars is in no sum of dollars.
    SELECT trade_id, json_group_object(fee_asset, fee) AS fees_by_asset
    FROM (SELECT trade_id, fee_asset, rtrim(rtrim(sum(fee)::VARCHAR, '0'), '.') AS fee
          FROM fills WHERE trade_id IS NOT NULL AND fee_asset IS NOT NULL GROUP BY ALL ORDER BY ALL)
    GROUP BY trade_id
),
measured AS (  -- Each execution against the executable price of the decision behind it, in dollars; positive is worse.
    SELECT fills.trade_id, leg, purpose = 'entry' AS entry, fills.quantity::DOUBLE AS quantity,
           CASE WHEN purpose = 'entry' THEN if(leg = 'a', intent.price_a, intent.price_b)
                WHEN fills.seq > closing_seq THEN if(leg = 'a', exit_decision_price_a, exit_decision_price_b)
                END AS decision,  -- NULL for what was trimmed, or taken by the exchange, before any decision to close.
           (price - decision)::DOUBLE * if(fills.side = 'buy', 1, -1) AS worse
    FROM fills JOIN journal.trade_intents AS intent USING (trade_id) LEFT JOIN steps USING (trade_id)
),
slipped AS (
    SELECT trade_id,
           sum(worse * quantity) FILTER (entry) AS entry_usd, sum(worse * quantity) FILTER (NOT entry) AS exit_usd,
           sum(worse * quantity) AS usd, 1e4 * usd / nullif(sum(decision * quantity), 0) AS bps,
           1e4 * entry_usd / nullif(sum(decision * quantity) FILTER (entry), 0) AS entry_bps,
           1e4 * exit_usd / nullif(sum(decision * quantity) FILTER (NOT entry), 0) AS exit_bps,
           1e4 * sum(worse * quantity) FILTER (entry AND leg = 'a')
               / nullif(sum(decision * quantity) FILTER (entry AND leg = 'a'), 0) AS entry_bps_a,
           1e4 * sum(worse * quantity) FILTER (entry AND leg = 'b')
               / nullif(sum(decision * quantity) FILTER (entry AND leg = 'b'), 0) AS entry_bps_b,
           1e4 * sum(worse * quantity) FILTER (NOT entry AND leg = 'a')
               / nullif(sum(decision * quantity) FILTER (NOT entry AND leg = 'a'), 0) AS exit_bps_a,
           1e4 * sum(worse * quantity) FILTER (NOT entry AND leg = 'b')
               / nullif(sum(decision * quantity) FILTER (NOT entry AND leg = 'b'), 0) AS exit_bps_b
    FROM measured WHERE decision IS NOT NULL GROUP BY trade_id
),
fates AS (
    SELECT client_order_id, bool_or(status = 'refused') AS refused, bool_or(status = 'unknown') AS unknown
    FROM journal.order_steps GROUP BY client_order_id
),
ordered AS (
    SELECT trade_id, count(*) AS orders, count(*) FILTER (purpose = 'entry') AS entry_orders,
           count(*) FILTER (purpose <> 'entry') AS exit_orders,
           count(*) - count(DISTINCT (leg, purpose = 'entry')) AS extra_orders,  -- One a leg and way is what it takes.
           count(*) FILTER (refused) AS refused_orders, count(*) FILTER (unknown) AS unknown_orders,
           count(*) FILTER (purpose = 'entry' AND time_in_force = 'GTX') AS passive_orders,
           any_value(leg) FILTER (purpose = 'entry' AND time_in_force = 'GTX') AS passive_leg
    FROM journal.order_intents LEFT JOIN fates USING (client_order_id) GROUP BY trade_id
),
made AS (
    SELECT fills.trade_id, sum(fee_usd) AS maker_fees_usd
    FROM fills JOIN journal.order_intents AS intent USING (client_order_id)
    WHERE intent.time_in_force = 'GTX' GROUP BY fills.trade_id
),
joined AS (
    SELECT intent.*, coalesce(steps.status, 'opening') AS status, steps.status_reason, steps.advanced_at,
           coalesce(steps.opened_at, intent."at") AS opened_at,
           CASE WHEN steps.status IN ('closed', 'rolled_back') THEN steps.over_at END AS closed_at,
           steps.exit_z, steps.exit_reason, steps.naked_seconds, steps.naked_notional_usd_seconds, steps.leg_skew_ms,
           steps.completion, steps.completion_facts, steps.limit_entry, made.maker_fees_usd,
           coalesce(filled.entered, 0) = 0 AND coalesce(steps.status, 'opening') = 'opening' AS planned,
           filled.quantity_a AS filled_a, filled.quantity_b AS filled_b, filled.notional_b_usd, filled.turnover_usd,
           filled.entry_price_a, filled.entry_price_b, filled.exit_price_a, filled.exit_price_b,
           coalesce(filled.held_a, 0) AS held_a, coalesce(filled.held_b, 0) AS held_b,
           coalesce(filled.fees_usd, 0) AS fees_usd, coalesce(filled.fees_unpriced, 0) AS fees_unpriced,
           coalesce(filled.fills, 0) AS fills, coalesce(funded.funding_usd, 0) AS funding_usd,
           CASE WHEN steps.status IN ('closed', 'rolled_back') THEN coalesce(filled.cash_usd, 0) END AS gross_pnl_usd,
           steps.exit_decision_price_a, steps.exit_decision_price_b, slipped.* EXCLUDE (trade_id), paid.fees_by_asset,
           ordered.* EXCLUDE (trade_id)
    FROM journal.trade_intents AS intent
    LEFT JOIN steps USING (trade_id) LEFT JOIN filled USING (trade_id) LEFT JOIN funded USING (trade_id)
    LEFT JOIN slipped USING (trade_id) LEFT JOIN paid USING (trade_id) LEFT JOIN ordered USING (trade_id)
    LEFT JOIN made USING (trade_id)
)
SELECT trade_id, pair_id, side, status, opened_at, closed_at, hedge_ratio, entry_z, exit_z, exit_reason,
       CASE WHEN planned THEN quantity_a ELSE coalesce(filled_a, 0) END AS quantity_a,
       CASE WHEN planned THEN quantity_b ELSE coalesce(filled_b, 0) END AS quantity_b,
       entry_price_a, entry_price_b, exit_price_a, exit_price_b,
       fees_usd, funding_usd, gross_pnl_usd, gross_pnl_usd - fees_usd + funding_usd AS net_pnl_usd,
       coalesce(naked_seconds, 0) AS naked_seconds, expected_edge_usd,
       symbol_a, symbol_b, signal_id, status_reason, "at" AS intended_at, advanced_at,
       date_diff('millisecond', opened_at, closed_at) / 1000 AS hold_seconds,
       held_a, held_b, notional_b_usd AS notional_usd, quantity_a AS planned_quantity_a, quantity_b AS planned_quantity_b,
       price_a AS decision_price_a, price_b AS decision_price_b,
       entry_bps_a AS entry_slippage_bps_a, entry_bps_b AS entry_slippage_bps_b,
       leg_skew_ms, hedge_error, spread_mean, spread_std, exit_threshold, stop_z, time_stop_at, costs,
       fills, fees_unpriced,
       exit_decision_price_a, exit_decision_price_b,
       exit_bps_a AS exit_slippage_bps_a, exit_bps_b AS exit_slippage_bps_b,
       entry_bps AS entry_slippage_bps, exit_bps AS exit_slippage_bps, bps AS slippage_bps,
       round(entry_usd, 12)::DECIMAL(38, 18) AS entry_slippage_usd, round(exit_usd, 12)::DECIMAL(38, 18) AS exit_slippage_usd,
       round(usd, 12)::DECIMAL(38, 18) AS slippage_usd,
       fees_by_asset, coalesce(turnover_usd, 0) AS turnover_usd,
       coalesce(orders, 0) AS orders, coalesce(entry_orders, 0) AS entry_orders, coalesce(exit_orders, 0) AS exit_orders,
       coalesce(extra_orders, 0) AS extra_orders, coalesce(refused_orders, 0) AS refused_orders,
       coalesce(unknown_orders, 0) AS unknown_orders, coalesce(passive_orders, 0) AS passive_orders,
       if(coalesce(passive_orders, 0) > 0, 'post_only', 'taker') AS entered_by,
       passive_leg, maker_fees_usd, limit_entry,
       coalesce(naked_notional_usd_seconds, 0) AS naked_notional_usd_seconds, completion, completion_facts
FROM joined;

CREATE OR REPLACE VIEW pair_performance AS
SELECT pair_id, count(*) AS trades, count(*) FILTER (closed_at IS NULL) AS open_trades,
       count(*) FILTER (status = 'closed') AS closed_trades, count(*) FILTER (status = 'rolled_back') AS rollbacks,
       count(*) FILTER (status = 'closed' AND net_pnl_usd > 0) / nullif(count(*) FILTER (status = 'closed'), 0)
           AS win_rate,
       coalesce(sum(net_pnl_usd), 0) AS net_pnl_usd, coalesce(sum(gross_pnl_usd), 0) AS gross_pnl_usd,
       sum(fees_usd) AS fees_usd, sum(funding_usd) AS funding_usd,
       sum(expected_edge_usd) FILTER (status = 'closed') AS expected_edge_usd,
       avg(hold_seconds) FILTER (status = 'closed') AS average_hold_seconds, sum(naked_seconds) AS naked_seconds
FROM pair_trades GROUP BY pair_id;

-- What trading two legs costs beyond the plan: one row a pair and day of entry (UTC).
CREATE OR REPLACE VIEW execution_quality AS
SELECT date_trunc('day', intended_at) AS day, pair_id, count(*) AS trades,
       count(*) FILTER (status = 'rolled_back') AS rollbacks, count(*) FILTER (status = 'attention') AS in_attention,
       quantile_cont(naked_seconds, 0.5) AS naked_seconds_p50, quantile_cont(naked_seconds, 0.95) AS naked_seconds_p95,
       max(naked_seconds) AS naked_seconds_max,
       quantile_cont(leg_skew_ms, 0.5) AS leg_skew_ms_p50, quantile_cont(leg_skew_ms, 0.95) AS leg_skew_ms_p95,
       max(leg_skew_ms) AS leg_skew_ms_max,
       avg(entry_slippage_bps) AS entry_slippage_bps, avg(exit_slippage_bps) AS exit_slippage_bps,
       quantile_cont(slippage_bps, 0.95) AS slippage_bps_p95, sum(slippage_usd) AS slippage_usd,
       sum(fees_usd) AS fees_usd, sum(fees_unpriced)::BIGINT AS fees_unpriced, sum(turnover_usd) AS turnover_usd,
       1e4 * sum(fees_usd)::DOUBLE / nullif(sum(turnover_usd)::DOUBLE, 0) AS fees_bps,
       sum(orders)::BIGINT AS orders, sum(extra_orders)::BIGINT AS extra_orders, sum(refused_orders)::BIGINT AS refused_orders,
       sum(unknown_orders)::BIGINT AS unknown_orders, avg(hedge_error) AS hedge_error
FROM pair_trades GROUP BY day, pair_id;

CREATE OR REPLACE VIEW denials AS
SELECT reason, count(*) AS count, count(DISTINCT pair_id) AS pairs, min("at") AS first_at, max("at") AS last_at
FROM signals WHERE outcome = 'denied' GROUP BY reason;

CREATE OR REPLACE VIEW runs AS
WITH stopped AS (
    SELECT run_id, max("at") AS stopped_at, arg_max(reason, seq) AS reason, max(uptime_seconds) AS uptime_seconds,
           max(signals_processed) AS signals_processed, max(trades_executed) AS trades_executed,
           arg_max(success_rate, seq) AS success_rate
    FROM journal.runs_stopped GROUP BY run_id
)
SELECT run_id, started."at" AS started_at, stopped.stopped_at, stopped.reason, started.trading_mode, started.dry_run,
       started.version, stopped.uptime_seconds, stopped.signals_processed, stopped.trades_executed,
       stopped.success_rate, started.config_sha256, started.pairs_sha256
FROM journal.runs_started AS started LEFT JOIN stopped USING (run_id);

-- A run says first what it is about to do and then what became of it: the last word counts.
CREATE OR REPLACE VIEW calibration_runs AS
SELECT latest.* EXCLUDE (journal, seq)
FROM journal.calibration_runs AS latest
QUALIFY row_number() OVER (PARTITION BY run_id ORDER BY seq DESC) = 1;
