"""Properties: money is conserved to the last decimal, positions are the sum of fills, nothing fills from thin air."""

from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_market import ScriptedMarket

from paper.account import AccountPosition
from paper.books import Books
from paper.core import ExchangeCore
from paper.errors import ApiError
from paper.numbers import ZERO
from paper.options import CoreOptions
from paper.orders import parse_order

D = Decimal
NOW_MS = 1_790_000_000_000
SYMBOLS = ("BTCUSDT", "XRPUSDT")
MIDDLES = {"BTCUSDT": (D(82500), D("0.1"), D("0.001")), "XRPUSDT": (D("0.5"), D("0.0001"), D("0.1"))}

order_acts = st.tuples(
    st.just("order"),
    st.sampled_from(SYMBOLS),
    st.sampled_from(["BUY", "SELL"]),
    st.sampled_from(["MARKET", "GTC", "IOC", "FOK", "GTX"]),
    st.integers(1, 900),
    st.integers(-30, 30),
    st.booleans(),
)
other_acts = st.tuples(
    st.sampled_from(["book", "funding", "mark", "adl", "cancel", "manual"]),
    st.sampled_from(SYMBOLS),
    st.sampled_from(["BUY", "SELL"]),
    st.just(""),
    st.integers(1, 900),
    st.integers(-30, 30),
    st.booleans(),
)


class World:
    """A exchange with one account, and what an observer can add up by itself."""

    def __init__(self) -> None:
        self.market = ScriptedMarket()
        self.core = ExchangeCore(Books(self.market, CoreOptions()))
        self.me = self.core.books.open_account("k", "s", D(10_000), NOW_MS)
        self.offered: dict[tuple[str, str, Decimal, int], Decimal] = {}

    def act(self, act: tuple[str, str, str, str, int, int, bool]) -> None:
        kind, symbol, side, form, size, offset, reduce_only = act
        middle, tick, step = MIDDLES[symbol]
        price = middle + offset * tick
        if kind == "order":
            self.order(symbol, side, form, step * size, price, reduce_only=reduce_only)
        elif kind == "book":
            depth = [(tick * n, step * (size % 7 * n + 1)) for n in (1, 2, 3)]
            book = self.market.set_book(
                symbol, [(price - away, part) for away, part in depth], [(price + away, part) for away, part in depth]
            )
            self.core.on_book(book, NOW_MS)
        elif kind == "funding":
            self.core.on_funding(self.market.settle(symbol, f"{offset}e-5"), NOW_MS)
        elif kind == "mark":
            self.market.set_mark(symbol, middle * (1 + D(offset) / 2000))
            self.core.on_timer(NOW_MS)
        elif kind == "adl":
            self.core.auto_deleverage(self.me, symbol, D(size) / 1000, NOW_MS)
        elif kind == "cancel":
            self.core.cancel_all(self.me, symbol, NOW_MS)
        else:
            self.core.manual_trade(self.me, symbol, step * size if side == "BUY" else -step * size, None, NOW_MS)

    def order(self, symbol: str, side: str, form: str, quantity: Decimal, price: Decimal, *, reduce_only: bool) -> None:
        params = {"symbol": symbol, "side": side, "quantity": f"{quantity:f}", "type": "MARKET"}
        if form != "MARKET":
            params |= {"type": "LIMIT", "timeInForce": form, "price": f"{price:f}"}
        if reduce_only:
            params["reduceOnly"] = "true"
        before = self.me.account.amount(symbol)
        reachable = sum((left for _, left in self.core.depth(symbol).available(side)), ZERO)
        try:
            order = self.core.place(self.me, parse_order(params, NOW_MS), NOW_MS)
        except ApiError:
            assert self.me.account.amount(symbol) == before, "a refused order changed something"
            return
        assert order.filled <= min(order.quantity, reachable), "filled from thin air"
        if reduce_only:
            after = self.me.account.amount(symbol)
            assert abs(after) <= abs(before), "reduce-only increased the position"
            assert after * before >= 0, "reduce-only turned the position round"

    def check(self) -> None:
        """Everything adds up, from rows that clients can read."""
        account = self.me.account
        sums: dict[str, Decimal] = {}
        for income in self.me.incomes:
            sums[income.kind] = sums.get(income.kind, ZERO) + income.amount
        assert account.wallet == sum(sums.values(), ZERO)
        assert sums["TRANSFER"] == account.deposited
        assert sums.get("COMMISSION", ZERO) == -sum((trade.commission for trade in self.me.trades), ZERO)
        assert sums.get("REALIZED_PNL", ZERO) == sum((trade.realized for trade in self.me.trades), ZERO)
        for symbol in SYMBOLS:
            trades = [trade for trade in self.me.trades if trade.symbol == symbol]
            signed = [trade.quantity if trade.side == "BUY" else -trade.quantity for trade in trades]
            assert account.amount(symbol) == sum(signed, ZERO)
            cash = sum((-part * trade.price for part, trade in zip(signed, trades, strict=True)), ZERO)
            position = account.position(symbol)
            # What was spent is what the position cost, plus what was lost on the way.
            assert cash == position.realized - position.cost
        for order in self.me.orders.values():
            assert order.filled == sum(
                (trade.quantity for trade in self.me.trades if trade.order_id == order.order_id), ZERO
            )
            assert order.open == (order.order_id in self.me.open)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(order_acts, other_acts), max_size=30))
def test_everything_adds_up_after_every_act(acts: list[tuple[str, str, str, str, int, int, bool]]) -> None:
    world = World()
    for act in acts:
        world.act(act)
        world.check()


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(-50, 50).filter(bool), st.integers(1, 10_000)), max_size=30))
def test_a_flat_position_has_realised_every_cent(fills: list[tuple[int, int]]) -> None:
    position = AccountPosition(symbol="X", side="BOTH")
    cash = realized = ZERO
    for quantity, price in fills:
        realized += position.apply(D(quantity), D(price) / 7)
        cash -= D(quantity) * (D(price) / 7)
    left = position.amount
    if left:
        realized += position.apply(-left, D(3))
        cash += left * 3
    assert position.amount == 0
    assert position.cost == 0
    assert abs(realized - cash) < D("1e-18")  # Prices of this test are sevenths; the exchange's have 8 decimals.
