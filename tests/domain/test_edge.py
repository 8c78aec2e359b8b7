"""What an entry is expected to earn and sure to cost, against sums done by hand."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.edge import Edge, FundingTerms, edge_of, executable_price
from domain.orders import Side
from domain.pairs import PairSide
from domain.quotes import Quote
from domain.spread import SpreadMoments

D = Decimal


def quote(bid: float, ask: float) -> Quote:
    return Quote(bid, ask, 1.0, 1.0, 0, 0)


def edge(side: PairSide = PairSide.SELL, **other: Any) -> Edge:
    """10 a at 99.9/100.1, 5 b at 199.5/200.5, ratio 0.5, mean 155, deviation 2."""
    facts: dict[str, Any] = {
        "side": side, "hedge_ratio": 0.5, "statistics": SpreadMoments(155.0, 2.0), "exit_z": 0.5, "quote_a": quote(99.9, 100.1),
        "quote_b": quote(199.5, 200.5), "quantity_a": D(10), "quantity_b": D(5), "taker_fee_rate": 0.0005,
        "funding_a": FundingTerms(0.0), "funding_b": FundingTerms(0.0), "half_life_hours": 4.0,
    }  # fmt: skip
    return edge_of(**(facts | other))


def test_we_buy_at_the_ask_and_sell_at_the_bid() -> None:
    assert executable_price(quote(1.0, 2.0), Side.BUY) == 2.0
    assert executable_price(quote(1.0, 2.0), Side.SELL) == 1.0


def test_selling_a_by_hand() -> None:
    """Sell a at 99.9, buy b at 200.5: spread 150.55, z −2.225; back to 155 − 0.5·2 = 154: 3.45 on 5 b."""
    sums = edge(PairSide.SELL)
    assert sums.executable_z == pytest.approx(-2.225)
    assert sums.reversion == pytest.approx(17.25)
    assert sums.fees == pytest.approx(2.0)  # Four fees of 0.05 % on 1000 each.
    assert sums.exit_spread == pytest.approx(0.5 * (0.2 * 10 + 1.0 * 5))
    assert sums.funding == 0.0
    assert sums.net == pytest.approx(17.25 - 2.0 - 3.5)


def test_buying_a_by_hand() -> None:
    """Buy a at 100.1, sell b at 199.5: spread 149.45 over a mean of 145, z 2.225; back to 146: 3.45 on 5 b."""
    sums = edge(PairSide.BUY, statistics=SpreadMoments(145.0, 2.0))
    assert sums.executable_z == pytest.approx(2.225)
    assert sums.reversion == pytest.approx(17.25)


# rate of a, rate of b, half-life in hours -> cost in USD when selling a (short 1000 a, long 1000 b), 8-hour settlements
FUNDINGS = [
    (0.0001, 0.0, 8.0, -0.1),  # A positive rate pays the short.
    (0.0, 0.0001, 8.0, 0.1),  # And is paid by the long.
    (0.0, 0.0001, 4.0, 0.05),
    (0.0001, 0.0001, 8.0, 0.0),
    (-0.0002, 0.0, 8.0, 0.2),
    (0.0001, 0.0, None, 0.0),  # Without a half-life, what we would receive is not counted,
    (-0.0002, 0.0003, None, 0.5),  # and what we would pay is, once on each leg.
]


@pytest.mark.parametrize(("rate_a", "rate_b", "hours", "cost"), FUNDINGS)
def test_funding_by_hand(rate_a: float, rate_b: float, hours: float | None, cost: float) -> None:
    terms = {"funding_a": FundingTerms(rate_a), "funding_b": FundingTerms(rate_b), "half_life_hours": hours}
    assert edge(PairSide.SELL, **terms).funding == pytest.approx(cost)
    mirrored = edge(PairSide.BUY, **terms).funding
    assert mirrored == pytest.approx(-cost) if hours is not None else mirrored >= 0


def test_a_shorter_interval_settles_more_often() -> None:
    hourly = FundingTerms(0.0001, interval_hours=1.0)
    assert edge(funding_b=hourly, half_life_hours=8.0).funding == pytest.approx(0.8)


MIDS, HALVES, RATES = st.floats(0.001, 1e5), st.floats(0, 0.01), st.floats(-0.01, 0.01)


@given(
    mids=st.tuples(MIDS, MIDS),
    halves=st.tuples(HALVES, HALVES),
    fee=st.floats(0, 0.01),
    rates=st.tuples(RATES, RATES),
    stance=st.tuples(st.sampled_from(PairSide), st.floats(0, 2)),
)
def test_costs_are_costs_and_a_wider_book_is_never_better(
    mids: tuple[float, float],
    halves: tuple[float, float],
    fee: float,
    rates: tuple[float, float],
    stance: tuple[PairSide, float],
) -> None:
    (mid_a, mid_b), (half_a, half_b), (side, exit_z) = mids, halves, stance
    facts: dict[str, Any] = {
        "taker_fee_rate": fee,
        "funding_a": FundingTerms(rates[0]),
        "funding_b": FundingTerms(rates[1]),
        "half_life_hours": None,
        "exit_z": exit_z,
    }
    wide = edge(
        side,
        quote_a=quote(mid_a * (1 - half_a), mid_a * (1 + half_a)),
        quote_b=quote(mid_b * (1 - half_b), mid_b * (1 + half_b)),
        **facts,
    )
    narrow = edge(side, quote_a=quote(mid_a, mid_a), quote_b=quote(mid_b, mid_b), **facts)
    assert wide.fees >= 0
    assert wide.exit_spread >= 0
    assert wide.funding >= 0, "without a half-life no funding is hoped for"
    assert wide.net == pytest.approx(wide.reversion - wide.costs)
    slack = 1e-9 * (mid_a + mid_b) * 100
    assert wide.net <= narrow.net + slack
    assert set(wide.as_facts()) == {"executable_z", "reversion_usd", "fees_usd", "exit_spread_usd", "funding_usd"}
