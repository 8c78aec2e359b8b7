"""The exchange: what the runner asks of one (`port`), how a request may end (`errors`), and one folder for each exchange."""
