"""The account beside the trades: positions, executions of others, equity, funding, set-up, orders without an intent."""
