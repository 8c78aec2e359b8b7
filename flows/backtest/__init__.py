"""Backtest: the live decisions over stored prices, with all costs."""
