"""`tandem doctor`: what of this clone can be reached, read and changed, by whom, and what to do about it."""
