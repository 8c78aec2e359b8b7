"""Journal, recorder, ledger and market data: one writer per file. May import domain."""
