"""What flows ask the exchange: reads only, patient, and within the budget that leaves the live runner its share."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import TracebackType
from typing import Any, Self

from domain.instruments import Instrument
from domain.symbols import Symbol, exchange_id
from flows.common.request_loop import SILENCE_SECONDS_MAX, Pool, RequestLoop
from runner.config import Settings
from runner.exchange.binance.budget import Budget
from runner.exchange.binance.contract_rules import instrument_of
from runner.exchange.binance.requests import reading
from runner.exchange.binance.wire import Unreadable, decimal_of
from runner.exchange.errors import OutcomeUnknown
from storage.market import FundingRate, Kline

KLINES_PER_REQUEST = 499
"""The exchange gives 1,500 at most. So many weigh 2, the most bars for a unit of weight; and weight is what a universe waits for."""
FUNDINGS_PER_REQUEST_MAX = 1000
ATTEMPTS = 4
PATIENCE_SECONDS = 90.0
# fundingRate has a pool of its own, 500 in five minutes for this address; the runner asks there, too.
_FUNDING_REQUESTS, _FUNDING_SECONDS = 400, 300.0


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A perpetual as exchangeInfo prints it. None: not told."""

    instrument: Instrument
    onboard_ms: int | None
    sector: str | None  # The first of its `underlyingSubType`.


class ExchangeReads:
    """A synchronous client for one short job; several threads may ask at once. Use `with`.

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
        self._funding_pool = Pool(_FUNDING_REQUESTS, _FUNDING_SECONDS)

    def __enter__(self) -> Self:
        self._road = RequestLoop(
            self._settings,
            attempts=self._attempts,
            patience_seconds=self._patience,
            say=self._say,
            silence_seconds=self._silence,
        )
        self._client: Any = self._road.client
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._road.close()

    @property
    def _budget(self) -> Budget:
        return self._road.budget

    @property
    def market_may_change(self) -> bool:
        """A made-up or replayed market can be another one tomorrow; the real one only revises a bar."""
        return self._settings.trading_mode == "paper"

    def abandon(self) -> None:
        """Threads that wait for an answer give up: for whoever wants to end early."""
        self._road.abandon()

    def listed(self) -> dict[Symbol, Instrument]:
        """Every perpetual the exchange lists, with its rules; a contract whose rules cannot be read is left out."""
        return {symbol: listing.instrument for symbol, listing in self.listings().items()}

    def listings(self) -> dict[Symbol, Listing]:
        """The same with all that a universe is chosen by."""
        info = self._road.ask("exchangeInfo", self._client.fapiPublicGetExchangeInfo, weight=1)
        self._road.budget.limits_are(info.get("rateLimits") if isinstance(info, dict) else None)
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
        """What was traded of each contract in the last 24 hours, in USD (weight 40)."""
        self._know_symbols()
        rows = self._rows("ticker/24hr", self._client.fapiPublicGetTicker24hr, weight=40)
        with reading("ticker/24hr"):
            return {self._symbol(row): float(row["quoteVolume"]) for row in rows}

    def klines(self, symbol: Symbol, timeframe: str, *, limit: int, end_ms: int | None = None) -> list[Kline]:
        """Bars that opened up to `end_ms` (inclusive), ascending. Without `end_ms` the last one is still open."""
        parameters: dict[str, Any] = {"symbol": exchange_id(symbol), "interval": timeframe, "limit": limit}
        if end_ms is not None:
            parameters["endTime"] = end_ms
        rows = self._rows(
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
        rows = self._rows(
            f"fundingRate {symbol}",
            lambda: self._client.fapiPublicGetFundingRate(parameters),
            weight=0,
            pool=self._funding_pool,
        )
        try:
            return [FundingRate(int(row["fundingTime"]), float(row["fundingRate"])) for row in rows]
        except (TypeError, ValueError, LookupError) as error:
            raise OutcomeUnknown(f"fundingRate {symbol}: unreadable ({type(error).__name__})") from None

    def positions(self) -> dict[Symbol, Decimal]:
        """Signed quantity of every position that is not zero, whoever made it."""
        self._know_symbols()
        rows = self._rows("positionRisk", self._client.fapiPrivateV3GetPositionRisk, weight=5)
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
        rows = self._rows("openOrders", self._client.fapiPrivateGetOpenOrders, weight=40)
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
        self._road.ask("time", self._client.fapiPublicGetTime, weight=1)  # Opens the connection.
        before_ns, before_ms = self._road.clock.monotonic_ns(), self._road.clock.now_ms()
        reply = self._road.ask("time", self._client.fapiPublicGetTime, weight=1)
        round_trip_ms = (self._road.clock.monotonic_ns() - before_ns) / 1e6
        try:
            venue_ms = int(reply["serverTime"])
        except (TypeError, ValueError, LookupError):
            raise OutcomeUnknown("time: unreadable") from None
        return VenueTime(skew_ms=venue_ms - (before_ms + round_trip_ms / 2), round_trip_ms=round_trip_ms)

    def _rows(
        self, what: str, request: Callable[[], Awaitable[Any]], *, weight: int, pool: Pool | None = None
    ) -> list[Any]:
        """A reply that is a list by the exchange's documents. Anything else, `{}` above all, is no answer and never "nothing"."""
        reply = self._road.ask(what, request, weight=weight, pool=pool)
        if not isinstance(reply, list):
            raise OutcomeUnknown(f"{what}: unreadable (a list was due, {type(reply).__name__} came)")
        return reply

    def _know_symbols(self) -> None:
        if not self._symbols:
            self.listed()

    def _symbol(self, row: Mapping[str, Any]) -> Symbol:
        """A position in something unlisted is still reported, under the exchange's own name."""
        venue_id = str(row["symbol"])
        return self._symbols.get(venue_id, Symbol(venue_id))


def _onboard_ms(row: Mapping[str, Any]) -> int | None:
    told = str(row.get("onboardDate", ""))
    return int(told) if told.isascii() and told.isdigit() else None


def _sector(row: Mapping[str, Any]) -> str | None:
    told = row.get("underlyingSubType")
    return str(told[0]) if isinstance(told, list) and told else None


def _klines_weight(limit: int) -> int:
    return next((weight for bound, weight in ((100, 1), (500, 2), (1001, 5)) if limit < bound), 10)
