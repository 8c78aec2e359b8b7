"""Reconciliation: the account against our books; it reads only."""
