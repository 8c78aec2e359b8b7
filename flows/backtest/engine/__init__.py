"""The backtest: live's decisions, sizes and costs over recorded prices, recalibrating on the way. No I/O but in `files`."""
