"""Opening a trade: may it, what is planned, and the saga from two intents to one hedged trade or back to nothing."""
