"""Economic reasons not to look at a symbol or a pair, fixed before any p-value is seen: every pair less costs nobody power."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class SymbolFacts:
    """What is known of a symbol besides its prices. None: not known, and then no rule that asks for it lets it pass."""

    quote_volume_usd_per_day: float | None = None
    age_days: float | None = None
    funding_bps_per_day: float | None = None
    sector: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefilter:
    """None and False: this rule is off."""

    quote_volume_usd_per_day_min: float | None = None
    age_days_min: float | None = None
    funding_bps_per_day_max: float | None = None
    same_sector: bool = False


def symbol_reason(facts: SymbolFacts, rules: Prefilter) -> str | None:
    """Why this symbol is not looked at, or None."""
    volume, age, funding = facts.quote_volume_usd_per_day, facts.age_days, facts.funding_bps_per_day
    if rules.quote_volume_usd_per_day_min is not None and (volume or 0) < rules.quote_volume_usd_per_day_min:
        return f"illiquid: {volume or 0:.4g} USD a day, need {rules.quote_volume_usd_per_day_min:.4g}"
    if rules.age_days_min is not None and (age or 0) < rules.age_days_min:
        return f"too young: {age or 0:.4g} days, need {rules.age_days_min:g}"
    if rules.funding_bps_per_day_max is not None:
        if funding is None:
            return "funding unknown"
        if abs(funding) > rules.funding_bps_per_day_max:
            return f"funding extreme: {funding:+.4g} bps a day, at most {rules.funding_bps_per_day_max:g}"
    if rules.same_sector and facts.sector is None:
        return "sector unknown"
    return None


def prefilter(
    symbols: tuple[str, ...], facts: Mapping[str, SymbolFacts], rules: Prefilter
) -> tuple[NDArray[np.bool_], dict[str, str]]:
    """The pairs that are not looked at, as a matrix [y, x], and the reason of each symbol that is left out altogether."""
    known = [facts.get(symbol, SymbolFacts()) for symbol in symbols]
    reasons = {
        symbol: reason for symbol, of_it in zip(symbols, known, strict=True) if (reason := symbol_reason(of_it, rules))
    }
    out = np.array([symbol in reasons for symbol in symbols], dtype=np.bool_)
    excluded = out[:, None] | out[None, :]
    if rules.same_sector:
        sectors = np.array([str(of_it.sector) for of_it in known])
        excluded |= sectors[:, None] != sectors[None, :]
    return excluded, reasons
