"""Closing orders over every holding, net position and filter: they pass the exchange's rules, and their sum is what we held."""

from dataclasses import dataclass
from decimal import Decimal

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from domain.escalation import Escalation, Remedy
from domain.instruments import Instrument
from domain.orders import OrderType
from domain.pieces import Piece, is_dust, next_piece
from domain.symbols import Symbol

D = Decimal
FRESH = Escalation()


def contract(
    *,
    step: str = "1",
    market_step: str | None = None,
    smallest: str = "1",
    largest: str = "1000000",
    market_largest: str = "120000",
    notional: str = "5",
) -> Instrument:
    return Instrument(
        symbol=Symbol("CAT/USDT:USDT"),
        tick=D("0.01"),
        step=D(step),
        market_step=D(market_step or step),
        quantity_min=D(smallest),
        quantity_max=D(largest),
        market_quantity_min=D(smallest),
        market_quantity_max=D(market_largest),
        notional_min_usd=D(notional),
        percent_price_up=D("1.05"),
        percent_price_down=D("0.95"),
        is_trading=True,
    )


@dataclass
class FakeExchange:
    """The documented rules of order entry, written down again, and nothing else."""

    instrument: Instrument
    net: Decimal
    price: Decimal

    def take(self, piece: Piece, sign: int) -> Decimal:
        """Fill the order whole; the signed change of the position. An order that the rules forbid fails the test."""
        rules = self.instrument
        assert piece.quantity >= rules.quantity_min
        assert piece.quantity % rules.step == 0
        if piece.order_type is OrderType.MARKET:
            assert rules.market_quantity_min <= piece.quantity <= rules.market_quantity_max
            assert piece.quantity % rules.market_step == 0
        assert piece.quantity <= rules.quantity_max
        if piece.reduce_only:
            assert self.net * sign < 0, "-2022: nothing to reduce"
            assert piece.quantity <= abs(self.net), "it would be cut"
        else:
            assert piece.quantity * self.price >= rules.notional_min_usd, "-4164"
        self.net += piece.quantity * sign
        return piece.quantity * sign


QUANTITIES = st.integers(1, 3_000_000).map(D)
FILTERS = st.builds(
    contract,
    step=st.sampled_from(["1", "0.1", "0.001", "10"]),
    smallest=st.sampled_from(["10", "20", "100"]),
    largest=st.sampled_from(["1000000", "5000000"]),
    market_largest=st.sampled_from(["2000", "120000", "9000000"]),
    notional=st.sampled_from(["5", "50", "100"]),
)


@settings(max_examples=400)
@given(
    held=QUANTITIES,
    sign=st.sampled_from([1, -1]),
    others=st.integers(-3_000_000, 3_000_000).map(D),
    instrument=FILTERS,
    price=st.sampled_from(["0.5", "3", "0.0123"]).map(D),
)
def test_closing_passes_every_rule_and_sums_to_what_was_held(
    held: Decimal, sign: int, others: Decimal, instrument: Instrument, price: Decimal
) -> None:
    """Others (pairs, a person) hold anything beside us: at the end we hold nothing, and they hold what they held."""
    assume(held % instrument.step == 0 and others % instrument.step == 0)
    # A contract whose largest order is hardly above its smallest does not exist.
    assume(instrument.market_quantity_max * price >= 3 * instrument.notional_min_usd)
    ours = held * sign
    adapter = FakeExchange(instrument, ours + others, price)
    orders = 0
    while ours != 0:
        piece = next_piece(held=ours, net=adapter.net, instrument=instrument, price=price, state=FRESH)
        direction = (1 if ours > 0 else -1) if piece.adds else (-1 if ours > 0 else 1)
        change = adapter.take(piece, direction)
        if not piece.adds:
            assert piece.quantity <= abs(ours), "never more than we hold"
        ours += change
        orders += 1
        assert orders < 4_000
    assert adapter.net == others


@given(held=QUANTITIES, extra=st.integers(0, 1000).map(D), instrument=FILTERS)
def test_alone_in_the_symbol_every_order_is_reduce_only(held: Decimal, extra: Decimal, instrument: Instrument) -> None:
    assume(held >= instrument.quantity_min and held % instrument.step == 0)
    piece = next_piece(held=held, net=held + extra, instrument=instrument, price=D(1), state=FRESH)
    assert piece.reduce_only
    assert not piece.adds


# held, net, price -> quantity, reduce-only, adds. The contract: step 1, smallest 1, notional 5 USD, market orders up to 120000.
PIECES = [
    ("alone", "10", "10", "1", "10", True, False),
    ("short", "-10", "-10", "1", "10", True, False),
    ("a person holds more on our side", "10", "25", "1", "10", True, False),
    ("alone and below the minimum notional: reduce-only is exempt", "2", "2", "1", "2", True, False),
    ("the other pair holds the opposite: net flat", "10", "0", "1", "10", False, False),
    ("net on the other side", "10", "-4", "1", "10", False, False),
    ("net smaller: the reducing part first", "30", "12", "1", "12", True, False),
    ("the rest would be too small: one plain order", "10", "8", "1", "10", False, False),
    ("the rest is just large enough", "13", "8", "1", "8", True, False),
    ("dear: a rest of one lot will do", "10", "9", "7", "9", True, False),
    ("plain and too small: add, then close", "3", "0", "1", "5", False, True),
    ("plain, too small, reducible in part: add", "3", "2", "1", "5", False, True),
    ("above the market maximum: in pieces", "300000", "300000", "1", "120000", True, False),
    ("the last piece must not be too small", "120003", "0", "1", "119998", False, False),
]  # fmt: skip


@pytest.mark.parametrize(("numbers", "reduce_only", "adds"), [(row[1:5], *row[5:]) for row in PIECES])
def test_pieces_by_hand(numbers: tuple[str, ...], reduce_only: bool, adds: bool) -> None:
    held, net, price, quantity = numbers
    piece = next_piece(held=D(held), net=D(net), instrument=contract(), price=D(price), state=FRESH)
    assert (piece.quantity, piece.reduce_only, piece.adds) == (D(quantity), reduce_only, adds)


def test_reduce_only_refused_although_we_hold() -> None:
    state = Escalation(failures=1, remedy=Remedy.PLAIN)
    piece = next_piece(held=D(10), net=D(10), instrument=contract(), price=D(1), state=state)
    assert not piece.reduce_only
    assert piece.quantity == 10


def test_an_account_that_may_only_reduce_reduces_what_it_can() -> None:
    """The rest would not pass on its own, but a plain order has no chance at all."""
    state = Escalation(failures=1, remedy=Remedy.REDUCE)
    piece = next_piece(held=D(10), net=D(8), instrument=contract(), price=D(1), state=state)
    assert (piece.quantity, piece.reduce_only) == (D(8), True)


def test_half_as_much_after_a_refusal_for_size() -> None:
    state = Escalation(failures=1, remedy=Remedy.SMALLER, quantity_max=D(50))
    assert next_piece(held=D(100), net=D(100), instrument=contract(), price=D(1), state=state).quantity == 50
    tiny = Escalation(failures=20, remedy=Remedy.SMALLER, quantity_max=D("0.0001"))
    assert next_piece(held=D(100), net=D(100), instrument=contract(), price=D(1), state=tiny).quantity == 1
    assert next_piece(held=D(100), net=D(0), instrument=contract(), price=D(1), state=tiny).quantity == 5


def test_refused_as_too_small_although_our_rules_say_otherwise() -> None:
    """The exchange's minimum has grown: what we hold does not reach it, so a larger addition comes first."""
    state = Escalation(failures=1, remedy=Remedy.ENLARGE, enlargements=1)
    piece = next_piece(held=D(6), net=D(0), instrument=contract(), price=D(1), state=state)
    assert (piece.quantity, piece.adds) == (D(10), True)


def test_refused_for_rounding_twice_rounds_coarser() -> None:
    once = Escalation(failures=1, remedy=Remedy.ROUND, roundings=1)
    twice = Escalation(failures=2, remedy=Remedy.ROUND, roundings=2)
    for state, quantity in ((once, "123"), (twice, "120")):
        assert next_piece(held=D(123), net=D(123), instrument=contract(), price=D(1), state=state).quantity == D(
            quantity
        )


def test_what_is_finer_than_a_market_step_goes_as_a_limit() -> None:
    rules = contract(step="0.1", market_step="1", smallest="0.1")
    piece = next_piece(held=D("0.7"), net=D("0.7"), instrument=rules, price=D(100), state=FRESH)
    assert (piece.order_type, piece.quantity) == (OrderType.LIMIT, D("0.7"))
    piece = next_piece(held=D("5.7"), net=D("5.7"), instrument=rules, price=D(100), state=FRESH)
    assert (piece.order_type, piece.quantity) == (OrderType.MARKET, D(5))


@pytest.mark.parametrize(
    ("held", "step", "dust"), [("0", "1", False), ("0.4", "1", True), ("-0.4", "1", True), ("1", "1", False)]
)
def test_dust_is_less_than_a_lot_step(held: str, step: str, dust: bool) -> None:
    assert is_dust(D(held), contract(step=step)) is dust
