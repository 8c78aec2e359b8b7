"""Prefect flows: thin decorators round plain functions. May import runner, storage and domain."""
