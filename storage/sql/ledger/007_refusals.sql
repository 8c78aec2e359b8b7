-- Why the exchange refused an order: a kind that is no exchange's own, and the exchange's code beside it.
ALTER TABLE journal.order_steps ADD COLUMN refusal_kind VARCHAR;
ALTER TABLE journal.order_steps ADD COLUMN refusal_code VARCHAR;
