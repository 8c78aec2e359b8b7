"""Quotes in: a sans-I/O protocol under a thin `websockets` shell. May import domain and the runner's ports."""
