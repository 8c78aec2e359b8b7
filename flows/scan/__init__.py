"""Scan: cointegrated pairs among all symbols; it proposes, it never writes the pairs file."""
