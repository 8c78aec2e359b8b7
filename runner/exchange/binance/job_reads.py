"""What jobs read of Binance: patient, from any thread, and within the budget that leaves the live runner its share."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import TracebackType
from typing import Any, Self, TypeVar

from domain.instruments import Instrument
from domain.klines import FundingRate, Kline
from domain.symbols import Symbol
from runner.config import Settings
from runner.exchange.binance.budget import Budget
from runner.exchange.binance.contract_rules import instrument_of
from runner.exchange.binance.reads import FUNDINGS_PER_REQUEST_MAX, Reads
from runner.exchange.binance.reads import Resting as RestingOrder
from runner.exchange.binance.request_loop import SILENCE_SECONDS_MAX, RequestLoop
from runner.exchange.binance.shapes import reading
from runner.exchange.binance.wire import Unreadable
from runner.exchange.priority import Priority

__all__ = ["FUNDINGS_PER_REQUEST_MAX", "KLINES_PER_REQUEST", "ExchangeReads", "ExchangeTime", "Listing", "RestingOrder"]

KLINES_PER_REQUEST = 499
"""The exchange gives 1,500 at most. So many weigh 2, the most bars for a unit of weight; and weight is what a universe waits for."""
ATTEMPTS = 4
PATIENCE_SECONDS = 90.0

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeTime:
    """The exchange's clock against ours, and how long the request took."""

    skew_ms: float  # Positive: the exchange is ahead.
    round_trip_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A perpetual as exchangeInfo prints it. None: not said."""

    instrument: Instrument
    onboard_ms: int | None
    sector: str | None  # The first of its `underlyingSubType`.


class ExchangeReads:
    """A synchronous client for one short job; several threads may use it at once. Use `with`.

    Every read raises ExchangeError (OutcomeUnknown, Unreachable, Refused) once patience is exhausted: `attempts` tries, and no ban
    longer than `patience_seconds`. `say` hears of long waits.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        attempts: int = ATTEMPTS,
        patience_seconds: float = PATIENCE_SECONDS,
        silence_seconds: float = SILENCE_SECONDS_MAX,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._settings = settings
        self._attempts, self._patience, self._say = attempts, patience_seconds, say
        self._silence = silence_seconds
        self._symbols: dict[str, Symbol] = {}

    def __enter__(self) -> Self:
        self._loop = RequestLoop(
            self._settings,
            attempts=self._attempts,
            patience_seconds=self._patience,
            say=self._say,
            silence_seconds=self._silence,
        )
        self._reads = Reads(self._loop.client, self._loop.send, self._symbols.get)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.close()

    @property
    def _budget(self) -> Budget:
        return self._loop.budget

    def _run(self, read: Callable[[Reads], Awaitable[_T]]) -> _T:
        return self._loop.run(lambda: read(self._reads))

    @property
    def market_may_change(self) -> bool:
        """A made-up or replayed market can be another one tomorrow; the real one only revises a bar."""
        return self._settings.trading_mode == "paper"

    def abandon(self) -> None:
        """Threads that wait for an answer give up: for whoever wants to end early."""
        self._loop.abandon()

    def listed(self) -> dict[Symbol, Instrument]:
        """Every perpetual the exchange lists, with its rules; a contract whose rules cannot be read is left out."""
        return {symbol: listing.instrument for symbol, listing in self.listings().items()}

    def listings(self) -> dict[Symbol, Listing]:
        """The same with all that a universe is chosen by."""
        info = self._run(lambda reads: reads.contracts())
        self._budget.limits_are(info.get("rateLimits"))
        found: dict[Symbol, Listing] = {}
        with reading("exchangeInfo"):
            for row in info["symbols"]:
                if not str(row.get("contractType", "")).endswith("PERPETUAL"):
                    continue
                symbol = Symbol(f"{row['baseAsset']}/{row['quoteAsset']}:{row['marginAsset']}")
                self._symbols[str(row["symbol"])] = symbol
                try:
                    instrument = instrument_of(row, symbol, ())
                except Unreadable:
                    continue
                found[symbol] = Listing(instrument=instrument, onboard_ms=_onboard_ms(row), sector=_sector(row))
        return found

    def quote_volumes(self) -> dict[Symbol, float]:
        """What was traded of each contract in the last 24 hours, in USD."""
        self._know_symbols()
        return self._run(lambda reads: reads.quote_volumes())

    def klines(self, symbol: Symbol, timeframe: str, *, limit: int, end_ms: int | None = None) -> list[Kline]:
        """Bars that opened up to `end_ms` (inclusive), ascending. Without `end_ms` the last one is still open."""
        return self._run(lambda reads: reads.klines(symbol, timeframe, limit, end_ms))

    def funding_rates(self, symbol: Symbol, start_ms: int, end_ms: int) -> list[FundingRate]:
        """Settlements in [start_ms, end_ms), at most `FUNDINGS_PER_REQUEST_MAX` of them, ascending."""
        return self._run(lambda reads: reads.funding_rates(symbol, start_ms, end_ms))

    def positions(self) -> dict[Symbol, Decimal]:
        """Signed quantity of every position that is not zero, whoever made it."""
        self._know_symbols()
        held: dict[Symbol, Decimal] = {}
        for position in self._run(lambda reads: reads.positions(Priority.BACKGROUND)):
            # In hedge mode a symbol has two rows; what matters is what is left of them.
            held[position.symbol] = held.get(position.symbol, Decimal(0)) + position.quantity
        return held

    def open_orders(self) -> list[RestingOrder]:
        """Every resting order of the account, whoever placed it."""
        self._know_symbols()
        return self._run(lambda reads: reads.resting_orders())

    def time(self) -> ExchangeTime:
        """One request, timed: half the round trip is the error of the skew."""
        self._run(lambda reads: reads.time_ms())  # Opens the connection.
        clock = self._loop.clock
        before_ns, before_ms = clock.monotonic_ns(), clock.now_ms()
        exchange_ms = self._run(lambda reads: reads.time_ms())
        round_trip_ms = (clock.monotonic_ns() - before_ns) / 1e6
        return ExchangeTime(skew_ms=exchange_ms - (before_ms + round_trip_ms / 2), round_trip_ms=round_trip_ms)

    def _know_symbols(self) -> None:
        if not self._symbols:
            self.listed()


def _onboard_ms(row: Mapping[str, Any]) -> int | None:
    text = str(row.get("onboardDate", ""))
    return int(text) if text.isascii() and text.isdigit() else None


def _sector(row: Mapping[str, Any]) -> str | None:
    names = row.get("underlyingSubType")
    return str(names[0]) if isinstance(names, list) and names else None
