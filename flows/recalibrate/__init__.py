"""Recalibration: the nightly decision which pairs are traded with which hedge ratio."""
