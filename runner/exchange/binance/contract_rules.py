"""What the exchange says about its contracts: filters, leverage brackets, fees, funding. Loaded at start, then in the background."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from domain.edge import FUNDING_INTERVAL_HOURS_DEFAULT, FundingTerms
from domain.errors import ConfigError
from domain.instruments import Instrument, LeverageStep
from domain.symbols import Symbol
from runner.exchange.binance.budget import Budget
from runner.exchange.binance.client import Client
from runner.exchange.binance.requests import send
from runner.exchange.binance.shapes import list_of, object_of, reading
from runner.exchange.binance.symbols import exchange_id
from runner.exchange.binance.wire import Unreadable, decimal_of
from runner.exchange.errors import OutcomeUnknown

NEVER_MS = 4_102_444_800_000
"""A delivery in or after the year 2100 is the exchange's word for none."""


@dataclass(frozen=True, slots=True)
class Fees:
    """Shares of the notional; a rebate is negative."""

    taker: float
    maker: float


class ContractRules:
    """Satisfies `runner.exchange.port.ContractSource` for the symbols it was asked to load."""

    def __init__(
        self,
        client: Client,
        budget: Budget,
        *,
        timeout_seconds: float,
        taker_fee_bps: float,
        maker_fee_bps: float = 2.0,
    ) -> None:
        """`budget` learns exchangeInfo's `rateLimits`."""
        self._client = client
        self._budget = budget
        self._timeout = timeout_seconds
        self._fees_default = Fees(taker=taker_fee_bps / 10_000, maker=maker_fee_bps / 10_000)
        self._symbols_by_id: dict[str, Symbol] = {}
        self._instruments: dict[Symbol, Instrument] = {}
        self._brackets: dict[str, tuple[LeverageStep, ...]] = {}
        self._fees: dict[Symbol, Fees] = {}
        self._funding: dict[Symbol, FundingTerms] = {}
        self.unreadable: frozenset[Symbol] = frozenset()
        """Listed, but their present rules could not be read: the older ones may be wrong."""

    def symbol_of(self, listed_id: str) -> Symbol | None:
        """The unified name of a listed contract."""
        return self._symbols_by_id.get(listed_id)

    def knows(self, symbol: Symbol) -> bool:
        """False for what was never listed."""
        return symbol in self._instruments

    def instrument(self, symbol: Symbol) -> Instrument:
        return self._instruments[symbol]

    def funding(self, symbol: Symbol) -> FundingTerms:
        return self._funding.get(symbol, FundingTerms(0.0))

    def taker_fee_rate(self, symbol: Symbol) -> float:
        return self._fees.get(symbol, self._fees_default).taker

    def maker_fee_rate(self, symbol: Symbol) -> float:
        return self._fees.get(symbol, self._fees_default).maker

    async def load(self, symbols: Collection[Symbol], *, held: Collection[Symbol] = ()) -> None:
        """Filters, statuses and leverage brackets of every contract (weight 2).

        `held`: contracts that we hold. They may be listed no more, and what the exchange says of them is still read.
        Raises: ConfigError for a symbol that is not listed; ExchangeError, and then the older ones still stand.
        """
        info = await send("exchangeInfo", self._client.fapiPublicGetExchangeInfo, timeout_seconds=self._timeout)
        rows = await send("leverageBracket", self._client.fapiPrivateGetLeverageBracket, timeout_seconds=self._timeout)
        with reading("leverageBracket"):
            self._brackets = {str(row["symbol"]): _steps(row) for row in list_of("leverageBracket", rows)}
        with reading("exchangeInfo"):
            self._read(object_of("exchangeInfo", info))
        for symbol in held:
            self._symbols_by_id.setdefault(exchange_id(symbol), symbol)
        missing = [symbol for symbol in symbols if symbol not in self._instruments]
        if missing:
            names = ", ".join(sorted(missing))
            raise ConfigError(f"pairs_config.json: the exchange does not list {names}; correct or remove those pairs")

    def _read(self, info: Mapping[str, Any]) -> None:
        listed: dict[str, Symbol] = {}
        instruments: dict[Symbol, Instrument] = {}
        unreadable = set()
        for row in list_of("exchangeInfo", info["symbols"]):
            if not str(row.get("contractType", "")).endswith("PERPETUAL"):
                continue
            listed_id = str(row["symbol"])
            symbol = Symbol(f"{row['baseAsset']}/{row['quoteAsset']}:{row['marginAsset']}")
            listed[listed_id] = symbol
            try:
                instruments[symbol] = instrument_of(row, symbol, self._brackets.get(listed_id, ()))
            except Unreadable:
                # What was read of it before still holds for closing; if nothing was, it is not listed.
                unreadable.add(symbol)
        if not listed:
            raise OutcomeUnknown("exchangeInfo: no contract is listed")
        for symbol, known in self._instruments.items():
            if symbol not in instruments:
                gone = symbol not in unreadable
                instruments[symbol] = msgspec.structs.replace(known, is_trading=False) if gone else known
        self._symbols_by_id |= listed
        self._instruments = instruments
        self.unreadable = frozenset(unreadable)
        self._budget.limits_are(info.get("rateLimits"))

    async def load_fees(self, symbol: Symbol) -> None:
        """The account's own fees for one symbol (weight 20). Raises: ExchangeError."""
        parameters = {"symbol": exchange_id(symbol)}
        row = await send(
            "commissionRate",
            lambda: self._client.fapiPrivateGetCommissionRate(parameters),
            timeout_seconds=self._timeout,
        )
        with reading("commissionRate"):
            self._fees[symbol] = Fees(taker=float(row["takerCommissionRate"]), maker=float(row["makerCommissionRate"]))

    async def load_funding(self) -> None:
        """Predicted rates and intervals of every contract (weight 10). Raises: ExchangeError."""
        adjusted = await send("fundingInfo", self._client.fapiPublicGetFundingInfo, timeout_seconds=self._timeout)
        with reading("fundingInfo"):
            hours = {str(row["symbol"]): float(row["fundingIntervalHours"]) for row in list_of("fundingInfo", adjusted)}
        rows = await send("premiumIndex", self._client.fapiPublicGetPremiumIndex, timeout_seconds=self._timeout)
        with reading("premiumIndex"):
            for row in list_of("premiumIndex", rows):
                symbol = self._symbols_by_id.get(str(row["symbol"]))
                if symbol is not None and row.get("lastFundingRate"):
                    interval = hours.get(str(row["symbol"]), FUNDING_INTERVAL_HOURS_DEFAULT)
                    self._funding[symbol] = FundingTerms(float(row["lastFundingRate"]), interval)

    def has_fees(self, symbol: Symbol) -> bool:
        return symbol in self._fees


def _steps(row: Mapping[str, Any]) -> tuple[LeverageStep, ...]:
    return tuple(
        LeverageStep(notional_cap_usd=decimal_of(bracket["notionalCap"]), leverage_max=int(bracket["initialLeverage"]))
        for bracket in row["brackets"]
    )


def _delivery_ms(raw: Any) -> int | None:
    at_ms = int(raw or 0)
    return at_ms if 0 < at_ms < NEVER_MS else None


def instrument_of(row: Mapping[str, Any], symbol: Symbol, steps: tuple[LeverageStep, ...]) -> Instrument:
    """One row of exchangeInfo. Raises: Unreadable when a filter is missing: a contract without rules is not traded."""
    filters = {str(item["filterType"]): item for item in row["filters"]}
    try:
        price, lot, market_lot = filters["PRICE_FILTER"], filters["LOT_SIZE"], filters["MARKET_LOT_SIZE"]
        notional, percent = filters["MIN_NOTIONAL"], filters["PERCENT_PRICE"]
    except KeyError as missing:
        raise Unreadable(f"{symbol} has no filter {missing}") from None
    return Instrument(
        symbol=symbol,
        tick=decimal_of(price["tickSize"]),
        step=decimal_of(lot["stepSize"]),
        market_step=decimal_of(market_lot["stepSize"]),
        quantity_min=decimal_of(lot["minQty"]),
        quantity_max=decimal_of(lot["maxQty"]),
        market_quantity_min=decimal_of(market_lot["minQty"]),
        market_quantity_max=decimal_of(market_lot["maxQty"]),
        notional_min_usd=decimal_of(notional["notional"]),
        percent_price_up=decimal_of(percent["multiplierUp"]),
        percent_price_down=decimal_of(percent["multiplierDown"]),
        is_trading=row["status"] == "TRADING",
        leverage_steps=steps,
        price_min=decimal_of(price.get("minPrice", "0")),
        price_max=decimal_of(price.get("maxPrice", "0")) or None,
        delivery_ms=_delivery_ms(row.get("deliveryDate")),
    )
