"""From quotes to signals: bars, windows, spreads, and a decision when a band is left."""
