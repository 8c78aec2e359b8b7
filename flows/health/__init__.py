"""Health check: every part probed once, and the live runner started again if nothing else did."""
