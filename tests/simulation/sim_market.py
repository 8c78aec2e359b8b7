"""A market of six contracts whose prices walk by the seed, only when somebody looks."""

import random
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from functools import cache

from sim_loop import Timeline, VirtualClock

from domain.edge import FundingTerms
from domain.instruments import Instrument, LeverageStep
from domain.quotes import Quote
from domain.symbols import Symbol, unified
from paper.market import Book, LeverageBracket, Listing, Mark
from paper.public_rules import exchange_info
from runner.exchange.binance.contract_rules import instrument_of
from runner.exchange.binance.symbols import exchange_id

D = Decimal
# name, tick, step, smallest notional, price, largest market order in steps
CONTRACTS = (
    ("BTC", "0.1", "0.001", "50", "82500", 120_000),
    ("ETH", "0.01", "0.001", "20", "3000", 2_000_000),
    ("SOL", "0.01", "0.01", "5", "140", 200_000),
    ("XRP", "0.0001", "0.1", "5", "0.5", 9_000_000),
    ("1000CAT", "0.000001", "1", "5", "0.0123", 60_000),
    ("1MBABYDOGE", "0.0000001", "1", "5", "0.0023277", 90_000_000),
)
BRACKETS = (
    LeverageBracket(notional_floor=D(0), notional_cap=D(600_000), leverage_max=75, maintenance_margin_rate=D("0.005"), cumulative=D(0)),
)  # fmt: skip
WALK_SECONDS = 0.25


@cache
def listings() -> Mapping[str, Listing]:
    return {name + "USDT": _listing(name, *rest) for name, *rest in CONTRACTS}


def _listing(name: str, tick: str, step: str, notional_min: str, _price: str, market_steps: int) -> Listing:
    tick_size, step_size = D(tick), D(step)
    return Listing(
        symbol=name + "USDT", base_asset=name, quote_asset="USDT", tick=tick_size, step=step_size,
        price_min=tick_size, price_max=D(10_000_000), quantity_min=step_size, quantity_max=step_size * 100_000_000,
        market_quantity_max=step_size * market_steps, notional_min=D(notional_min), percent_price_up=D("1.05"),
        percent_price_down=D("0.95"), market_take_bound=D("0.05"), price_precision=-tick_size.as_tuple().exponent,
        quantity_precision=max(0, -step_size.as_tuple().exponent), open_orders_max=200, onboard_ms=1_569_398_400_000,
        funding_interval_hours=8, status="TRADING", brackets=BRACKETS,
    )  # fmt: skip


@cache
def instruments() -> Mapping[Symbol, Instrument]:
    steps = tuple(LeverageStep(notional_cap_usd=row.notional_cap, leverage_max=row.leverage_max) for row in BRACKETS)
    rows = exchange_info(listings().values(), 0)["symbols"]
    named = [(unified(f"{row['baseAsset']}/USDT"), row) for row in rows]
    return {symbol: instrument_of(row, symbol, steps) for symbol, row in named}


@cache
def _ids() -> Mapping[str, Symbol]:
    return {exchange_id(symbol): symbol for symbol in instruments()}


class SimRules:
    """Satisfies `runner.ports.Rules`, and names contracts for the adapter."""

    def __init__(self, market: "SimMarket") -> None:
        self._market = market

    def symbol_of(self, listed_id: str) -> Symbol | None:
        return _ids().get(listed_id)

    def knows(self, symbol: Symbol) -> bool:
        return symbol in instruments()

    def instrument(self, symbol: Symbol) -> Instrument:
        return instruments()[symbol]

    def funding(self, symbol: Symbol) -> FundingTerms:
        return FundingTerms(0.0)

    def taker_fee_rate(self, symbol: Symbol) -> float:
        return 0.0005

    def maker_fee_rate(self, symbol: Symbol) -> float:
        return 0.0002


class SimMarket:
    """Satisfies `paper.market.Market` as far as the exchange's core asks."""

    def __init__(self, timeline: Timeline, seed: str, *, volatility: float, thin: bool) -> None:
        self._timeline = timeline
        # One stream of chance a contract: the core asks for several in the order of a set of names.
        self._seeds = {symbol: random.Random(f"{seed}-{symbol}") for symbol in listings()}
        self._volatility = volatility
        self._thin = thin
        self._listings = dict(listings())
        self._prices = {name + "USDT": D(price) for name, _, _, _, price, _ in CONTRACTS}
        self._looked = dict.fromkeys(self._prices, 0)
        self._books: dict[str, Book] = {}
        self._updates = 0
        self.off_band: dict[str, float] = {}
        """Symbols whose book has left the mark price's band, and until when."""

    @property
    def listings(self) -> Mapping[str, Listing]:
        return self._listings

    def set_status(self, symbol: str, status: str) -> None:
        self._listings[symbol] = replace(self._listings[symbol], status=status)

    def now_ms(self) -> int:
        return VirtualClock.EPOCH_MS + int(self._timeline.now * 1000)

    def jump(self, symbol: str, share: float) -> None:
        self._prices[symbol] *= D(f"{1 + share:.6f}")
        self._books.pop(symbol, None)

    def mark(self, symbol: str) -> Mark:
        self.book(symbol)
        price = self._prices[symbol]
        if self.off_band.get(symbol, 0.0) > self._timeline.now:
            price *= D("0.94")  # Buyers find every offer too dear.
        return Mark(
            symbol=symbol, mark_price=price, index_price=price, funding_rate=D(0), next_funding_ms=0, event_ms=0
        )

    def book(self, symbol: str) -> Book:
        turn = int(self._timeline.now / WALK_SECONDS)
        known = self._books.get(symbol)
        if known is not None and turn == self._looked[symbol]:
            return known
        elapsed = max(1, turn - self._looked[symbol])
        self._looked[symbol] = turn
        listing = self._listings[symbol]
        share = self._seeds[symbol].gauss(0.0, self._volatility) * min(elapsed, 40) ** 0.5
        price = self._prices[symbol] * D(f"{1 + share:.7f}")
        self._prices[symbol] = price = max(listing.tick * 50, price.quantize(listing.tick))
        self._updates += 1
        levels = [self._depth(price, listing, self._seeds[symbol]) for _ in range(3)]
        book = Book(
            symbol=symbol,
            bids=tuple((price - listing.tick * (n + 1), size) for n, size in enumerate(levels)),
            asks=tuple((price + listing.tick * (n + 1), size) for n, size in enumerate(levels)),
            update_id=self._updates,
            event_ms=self.now_ms(),
        )
        self._books[symbol] = book
        return book

    def _depth(self, price: Decimal, listing: Listing, seed: random.Random) -> Decimal:
        """A thin level holds a part of one order; three of them may still not be enough."""
        usd = seed.uniform(60, 400) if self._thin and seed.random() < 0.5 else 50_000
        return max(listing.step, (D(int(usd)) / price).quantize(listing.step))

    def quote(self, symbol: Symbol) -> Quote:
        book = self.book(exchange_id(symbol))
        (bid, bid_quantity), (ask, ask_quantity) = book.bids[0], book.asks[0]
        received_ns = int(self._timeline.now * 1e9)
        return Quote(float(bid), float(ask), float(bid_quantity), float(ask_quantity), book.event_ms, received_ns)
