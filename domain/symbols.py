"""Names of a contract: unified (`BTC/USDT:USDT`) and as typed (`BTC/USDT`); how an exchange spells it, its adapter knows."""

import re
from typing import NewType

Symbol = NewType("Symbol", str)
"""Unified, as in ccxt: BASE/QUOTE:SETTLE."""

PairId = NewType("PairId", str)
TradeId = NewType("TradeId", str)
ClientOrderId = NewType("ClientOrderId", str)

_TYPED = re.compile(r"([A-Z0-9]{1,20})/(USDT|USDC)(?::(USDT|USDC))?")


def unified(typed: str) -> Symbol:
    """Read a linear perpetual's name as a person writes it. Raises: ValueError with the remedy."""
    match = _TYPED.fullmatch(typed)
    if match is None or (match[3] is not None and match[3] != match[2]):
        raise ValueError(f"{typed!r} is not a linear perpetual; write it as BASE/USDT, for example 1000CAT/USDT")
    return Symbol(f"{match[1]}/{match[2]}:{match[2]}")
