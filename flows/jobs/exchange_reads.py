"""What flows ask the exchange: reads only, patient, and within the budget that leaves the live runner its share."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import TracebackType
from typing import Any, Self

from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from domain.errors import ExchangeError, OutcomeUnknown, Refused, Unreachable
from domain.instruments import Instrument
from domain.symbols import Symbol, exchange_id
from runner.clock import SystemClock
from runner.config import Settings
from runner.exchange.budget import Budget, Priority
from runner.exchange.client import make_client
from runner.exchange.requests import CLOCK_CODES, ask, reading
from runner.exchange.rules import instrument_of
from runner.exchange.wire import Unreadable, decimal_of
from storage.market import FundingRate, Kline

KLINES_PER_REQUEST_MAX = 1500
FUNDINGS_PER_REQUEST_MAX = 1000
ATTEMPTS = 4
# 0: a limit told without a code. A wrong key, an unknown symbol or a bad parameter stays wrong however often it is asked.
_PASSING_CODES = frozenset({None, -1000, -1001, -1003, -1006, -1007, -1008, -1015, -1016, -1021, 0})
_WAIT_SECONDS_MAX = 90.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RestingOrder:
    """An order that the exchange lists as open."""

    symbol: Symbol
    client_order_id: str
    exchange_order_id: str
    quantity: Decimal
    filled: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class VenueTime:
    """The exchange's clock against ours, and how long the question took."""

    skew_ms: float  # Positive: the exchange is ahead.
    round_trip_ms: float


class ExchangeReads:
    """A synchronous client for one short job. Use `with`; not from inside a running event loop.

    Every read raises ExchangeError (OutcomeUnknown, Unreachable, Refused) once patience is exhausted.
    """

    def __init__(self, settings: Settings, *, attempts: int = ATTEMPTS) -> None:
        self._settings = settings
        self._clock = SystemClock()
        self._timeout = settings.data.request_timeout_seconds
        self._attempts = attempts
        self._symbols: dict[str, Symbol] = {}

    def __enter__(self) -> Self:
        self._runner = asyncio.Runner()
        self._budget = Budget(self._clock)
        self._client: Any = self._runner.run(_made(self._settings, self._budget))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._runner.run(self._client.close())
        self._runner.close()

    def listed(self) -> dict[Symbol, Instrument]:
        """Every perpetual the exchange lists, with its rules; a contract whose rules cannot be read is left out."""
        info = self._read("exchangeInfo", self._client.fapiPublicGetExchangeInfo, weight=1)
        found: dict[Symbol, Instrument] = {}
        for row in info["symbols"]:
            if not str(row.get("contractType", "")).endswith("PERPETUAL"):
                continue
            symbol = Symbol(f"{row['baseAsset']}/{row['quoteAsset']}:{row['marginAsset']}")
            self._symbols[str(row["symbol"])] = symbol
            try:
                found[symbol] = instrument_of(row, symbol, ())
            except Unreadable:
                continue
        return found

    def klines(self, symbol: Symbol, timeframe: str, *, limit: int, end_ms: int | None = None) -> list[Kline]:
        """Bars that opened up to `end_ms` (inclusive), ascending. Without `end_ms` the last one is still open."""
        parameters: dict[str, Any] = {"symbol": exchange_id(symbol), "interval": timeframe, "limit": limit}
        if end_ms is not None:
            parameters["endTime"] = end_ms
        rows = self._read(
            f"klines {symbol}", lambda: self._client.fapiPublicGetKlines(parameters), weight=_klines_weight(limit)
        )
        try:
            return [Kline(int(row[0]), *(float(value) for value in row[1:6])) for row in rows]
        except (TypeError, ValueError, LookupError) as error:
            raise OutcomeUnknown(f"klines {symbol}: unreadable ({type(error).__name__})") from None

    def funding_rates(self, symbol: Symbol, start_ms: int, end_ms: int) -> list[FundingRate]:
        """Settlements in [start_ms, end_ms), at most `FUNDINGS_PER_REQUEST_MAX` of them, ascending."""
        parameters = {
            "symbol": exchange_id(symbol),
            "startTime": start_ms,
            "endTime": end_ms - 1,
            "limit": FUNDINGS_PER_REQUEST_MAX,
        }
        rows = self._read(f"fundingRate {symbol}", lambda: self._client.fapiPublicGetFundingRate(parameters), weight=1)
        try:
            return [FundingRate(int(row["fundingTime"]), float(row["fundingRate"])) for row in rows]
        except (TypeError, ValueError, LookupError) as error:
            raise OutcomeUnknown(f"fundingRate {symbol}: unreadable ({type(error).__name__})") from None

    def positions(self) -> dict[Symbol, Decimal]:
        """Signed quantity of every position that is not zero, whoever made it."""
        self._know_symbols()
        rows = self._read("positionRisk", self._client.fapiPrivateV3GetPositionRisk, weight=5)
        held: dict[Symbol, Decimal] = {}
        try:
            for row in rows:
                quantity = decimal_of(row["positionAmt"])
                if quantity != 0:
                    # In hedge mode a symbol has two rows; what matters is what is left of them.
                    symbol = self._symbol(row)
                    held[symbol] = held.get(symbol, Decimal(0)) + quantity
        except (Unreadable, TypeError, LookupError) as error:
            raise OutcomeUnknown(f"positionRisk: unreadable ({type(error).__name__})") from None
        return held

    def open_orders(self) -> list[RestingOrder]:
        """Every resting order of the account, whoever placed it (weight 40)."""
        self._know_symbols()
        rows = self._read("openOrders", self._client.fapiPrivateGetOpenOrders, weight=40)
        try:
            return [
                RestingOrder(
                    symbol=self._symbol(row),
                    client_order_id=str(row["clientOrderId"]),
                    exchange_order_id=str(row["orderId"]),
                    quantity=decimal_of(row["origQty"]),
                    filled=decimal_of(row.get("executedQty", "0")),
                )
                for row in rows
            ]
        except (Unreadable, TypeError, LookupError) as error:
            raise OutcomeUnknown(f"openOrders: unreadable ({type(error).__name__})") from None

    def time(self) -> VenueTime:
        """One question, timed: half the round trip is the error of the skew."""
        self._read("time", self._client.fapiPublicGetTime, weight=1)  # Opens the connection.
        before_ns, before_ms = self._clock.monotonic_ns(), self._clock.now_ms()
        reply = self._read("time", self._client.fapiPublicGetTime, weight=1)
        round_trip_ms = (self._clock.monotonic_ns() - before_ns) / 1e6
        try:
            venue_ms = int(reply["serverTime"])
        except (TypeError, ValueError, LookupError):
            raise OutcomeUnknown("time: unreadable") from None
        return VenueTime(skew_ms=venue_ms - (before_ms + round_trip_ms / 2), round_trip_ms=round_trip_ms)

    def _know_symbols(self) -> None:
        if not self._symbols:
            self.listed()

    def _symbol(self, row: Mapping[str, Any]) -> Symbol:
        """A position in something unlisted is still reported, under the exchange's own name."""
        venue_id = str(row["symbol"])
        return self._symbols.get(venue_id, Symbol(venue_id))

    def _read(self, what: str, request: Callable[[], Awaitable[Any]], *, weight: int) -> Any:
        def once() -> Any:
            self._wait_for_budget(what, weight)
            try:
                return self._runner.run(ask(what, request, timeout_seconds=self._timeout))
            except Refused as refused:
                if refused.code in CLOCK_CODES:
                    self._set_clock()
                raise

        patience = Retrying(
            stop=stop_after_attempt(self._attempts),
            wait=wait_random_exponential(multiplier=0.25, max=8),
            retry=retry_if_exception(_may_pass),
            reraise=True,
        )
        return patience(once)

    def _set_clock(self) -> None:
        """Our timestamps are refused: from now on they are the exchange's. When it cannot be asked, the next try asks again."""
        ticks = self._budget.venue_clock.ticks_ns
        with contextlib.suppress(ExchangeError):
            asked_ns = ticks()
            reply = self._runner.run(ask("time", self._client.fapiPublicGetTime, timeout_seconds=self._timeout))
            with reading("time"):
                self._budget.venue_clock.measured(int(reply["serverTime"]), asked_ns, ticks())

    def _wait_for_budget(self, what: str, weight: int) -> None:
        """Let the minute pass rather than eat into the share that unwinding may need."""
        waited = 0.0
        while (wait_ms := self._budget.wait_ms(Priority.BACKGROUND, weight)) > 0:
            pause = wait_ms / 1000
            if waited + pause > _WAIT_SECONDS_MAX:
                raise Unreachable(
                    f"{what}: this address's request budget at the exchange is used up, or it is banned; try again in {pause:.0f} s"
                )
            time.sleep(pause)
            waited += pause


async def _made(settings: Settings, budget: Budget) -> Any:
    """Inside the loop, because ccxt binds its session to the running one."""
    return make_client(settings, budget)


def _may_pass(error: BaseException) -> bool:
    if isinstance(error, OutcomeUnknown | Refused):
        return error.code in _PASSING_CODES
    return isinstance(error, Unreachable)


def _klines_weight(limit: int) -> int:
    return next((weight for bound, weight in ((100, 1), (500, 2), (1001, 5)) if limit < bound), 10)
