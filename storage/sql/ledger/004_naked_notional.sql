-- Naked seconds weighted with the notional that stood unhedged, beside the plain seconds.
ALTER TABLE journal.trade_steps ADD COLUMN naked_notional_usd_seconds DOUBLE;
