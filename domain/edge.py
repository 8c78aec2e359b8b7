"""What an entry is expected to earn against what it is sure to cost, in USD."""

from decimal import Decimal

import msgspec

from domain.orders import LegName, Side
from domain.pairs import PairSide
from domain.quotes import Quote
from domain.spread import SpreadMoments

FUNDING_INTERVAL_HOURS_DEFAULT = 8.0


class FundingTerms(msgspec.Struct, frozen=True, gc=False):
    """The predicted rate of the coming settlement and how often one comes."""

    rate: float
    interval_hours: float = FUNDING_INTERVAL_HOURS_DEFAULT


class Resting(msgspec.Struct, frozen=True, kw_only=True):
    """The leg of an entry that rests in the book instead of being taken."""

    leg: LegName
    price: float
    maker_fee_rate: float  # Share of the notional; a rebate is negative.


class Edge(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The sums behind one entry; all in USD. `net` = reversion − fees − exit spread − funding."""

    executable_z: (
        float  # z at the bid of what we sell and the ask of what we buy; at its own price for a leg that rests.
    )
    reversion: float
    fees: float
    exit_spread: float
    funding: float
    resting_leg: LegName | None = None  # None: both legs are taken.

    @property
    def costs(self) -> float:
        return self.fees + self.exit_spread + self.funding

    @property
    def net(self) -> float:
        return self.reversion - self.costs

    def as_facts(self) -> dict[str, str]:
        facts = {
            "executable_z": f"{self.executable_z:.4f}",
            "reversion_usd": f"{self.reversion:.6f}",
            "fees_usd": f"{self.fees:.6f}",
            "exit_spread_usd": f"{self.exit_spread:.6f}",
            "funding_usd": f"{self.funding:.6f}",
        }
        return facts if self.resting_leg is None else {**facts, "resting_leg": self.resting_leg.value}


def executable_price(quote: Quote, side: Side) -> float:
    """The ask for what we buy, the bid for what we sell."""
    return quote.ask if side is Side.BUY else quote.bid


def edge_of(
    *,
    side: PairSide,
    hedge_ratio: float,
    statistics: SpreadMoments,
    exit_z: float,
    quote_a: Quote,
    quote_b: Quote,
    quantity_a: Decimal,
    quantity_b: Decimal,
    taker_fee_rate: float,
    funding_a: FundingTerms,
    funding_b: FundingTerms,
    half_life_hours: float | None,
    resting: Resting | None = None,
) -> Edge:
    """Expected reversion from the executable spread to the exit, less four fees, the exit's spreads and funding.

    The entry's spreads are already in the executable z. A leg that rests is entered at its own price for the maker's fee; every
    other fee is the taker's. Funding is the rate each leg would pay or earn, pro rata, over one
    half-life; a pair without a half-life is charged one settlement on each leg it would pay for.
    """
    side_a, side_b = side.side_of(LegName.A), side.side_of(LegName.B)
    price_a, price_b = executable_price(quote_a, side_a), executable_price(quote_b, side_b)
    rests_a = resting is not None and resting.leg is LegName.A
    if resting is not None:
        price_a, price_b = (resting.price, price_b) if rests_a else (price_a, resting.price)
    spread = price_b - hedge_ratio * price_a
    z = statistics.z_score(spread)
    units_a, units_b = float(quantity_a), float(quantity_b)
    target = statistics.mean + (-exit_z if side is PairSide.SELL else exit_z) * statistics.std
    gain_per_unit = target - spread if side is PairSide.SELL else spread - target
    notional_a, notional_b = units_a * quote_a.mid, units_b * quote_b.mid
    fees = 2 * taker_fee_rate * (notional_a + notional_b)
    if resting is not None:
        fees -= (taker_fee_rate - resting.maker_fee_rate) * (notional_a if rests_a else notional_b)
    return Edge(
        executable_z=z,
        reversion=gain_per_unit * units_b,
        fees=fees,
        exit_spread=0.5 * ((quote_a.ask - quote_a.bid) * units_a + (quote_b.ask - quote_b.bid) * units_b),
        funding=_funding(notional_a, side_a, funding_a, half_life_hours)
        + _funding(notional_b, side_b, funding_b, half_life_hours),
        resting_leg=None if resting is None else resting.leg,
    )


def _funding(notional: float, side: Side, terms: FundingTerms, half_life_hours: float | None) -> float:
    settlement = notional * terms.rate * side.sign  # Longs pay a positive rate.
    if half_life_hours is None:
        return max(0.0, settlement)
    return settlement * half_life_hours / terms.interval_hours
