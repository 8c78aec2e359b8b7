"""Pure nouns, tables, decisions and arithmetic: no I/O, no clock, no asyncio.

Imports the standard library, numpy and msgspec.
"""
