-- 002 was the first form of the views, which are now laid anew whenever the file is opened (views.sql).
-- Executable prices at the decision to close, for the slippage of exits.
ALTER TABLE journal.trade_steps ADD COLUMN price_a DECIMAL(38, 18);
ALTER TABLE journal.trade_steps ADD COLUMN price_b DECIMAL(38, 18);
