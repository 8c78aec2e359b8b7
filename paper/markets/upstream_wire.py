"""What Binance says on its public endpoints, decoded, and how that becomes our nouns."""

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal

import msgspec

from paper.market import FundingSettlement, Kline, Listing
from paper.markets.listings import make_listing

_USD_M = 1


class Filter(msgspec.Struct, rename="camel"):
    """One filter of a contract; which fields it has depends on its type."""

    filter_type: str
    tick_size: Decimal | None = None
    min_price: Decimal | None = None
    max_price: Decimal | None = None
    min_qty: Decimal | None = None
    max_qty: Decimal | None = None
    step_size: Decimal | None = None
    notional: Decimal | None = None
    multiplier_up: Decimal | None = None
    multiplier_down: Decimal | None = None


class Contract(msgspec.Struct, rename="camel"):
    """One row of exchangeInfo."""

    symbol: str
    status: str
    contract_type: str
    base_asset: str
    quote_asset: str
    onboard_date: int
    price_precision: int
    quantity_precision: int
    filters: list[Filter]
    market_take_bound: Decimal = Decimal("0.05")
    underlying_sub_type: list[str] = []


class ExchangeInfo(msgspec.Struct):
    """The part of exchangeInfo we use."""

    symbols: list[Contract]


class ServerTime(msgspec.Struct, rename="camel"):
    """Reply of /time."""

    server_time: int


class FundingInfo(msgspec.Struct, rename="camel"):
    """A contract whose funding interval is not the usual one."""

    symbol: str
    funding_interval_hours: int


class RestQuote(msgspec.Struct, rename="camel"):
    """Best bid and ask by REST."""

    symbol: str
    bid_price: Decimal
    bid_qty: Decimal
    ask_price: Decimal
    ask_qty: Decimal
    time: int


class Premium(msgspec.Struct, rename="camel"):
    """Mark and funding by REST."""

    symbol: str
    mark_price: Decimal
    index_price: Decimal
    last_funding_rate: Decimal
    next_funding_time: int
    time: int


class FundingRow(msgspec.Struct, rename="camel"):
    """A settled rate; old rows have no mark price."""

    symbol: str
    funding_rate: Decimal
    funding_time: int
    mark_price: str = ""

    def settlement(self) -> FundingSettlement:
        """As our noun."""
        return FundingSettlement(
            symbol=self.symbol,
            rate=self.funding_rate,
            settled_ms=self.funding_time,
            mark_price=Decimal(self.mark_price or 0),
        )


class StreamQuote(msgspec.Struct):
    """A bookTicker message (or a control reply, when `s` is empty)."""

    s: str = ""
    u: int = 0
    E: int = 0
    b: Decimal = Decimal(0)
    B: Decimal = Decimal(0)
    a: Decimal = Decimal(0)
    A: Decimal = Decimal(0)
    st: int = _USD_M


class StreamMark(msgspec.Struct):
    """A row of the all-market mark price stream."""

    s: str
    E: int
    p: Decimal
    i: Decimal
    r: Decimal
    T: int
    st: int = _USD_M


KlineRow = tuple[int, Decimal, Decimal, Decimal, Decimal, Decimal, int, Decimal, int, str, str, str]


def kline_of(row: KlineRow) -> Kline:
    """The twelve columns as our noun."""
    return Kline(
        open_ms=row[0],
        open=row[1],
        high=row[2],
        low=row[3],
        close=row[4],
        volume=row[5],
        close_ms=row[6],
        quote_volume=row[7],
        trades=row[8],
    )


def listing_of(contract: Contract, *, price: float, funding_hours: int) -> Listing | None:
    """Our listing of a USDT perpetual, or None for other contracts.

    Its leverage brackets are ours: Binance tells those only to a signed request.
    """
    if contract.contract_type != "PERPETUAL" or contract.quote_asset != "USDT":
        return None
    filters: Mapping[str, Filter] = {row.filter_type: row for row in contract.filters}
    prices, lot = filters.get("PRICE_FILTER"), filters.get("LOT_SIZE")
    if prices is None or lot is None or prices.tick_size is None or lot.step_size is None:
        return None
    notional = filters.get("MIN_NOTIONAL", Filter(filter_type=""))
    bounds = filters.get("PERCENT_PRICE", Filter(filter_type=""))
    market_lot = filters.get("MARKET_LOT_SIZE", lot)
    ours = make_listing(
        contract.symbol,
        tick=prices.tick_size,
        step=lot.step_size,
        notional_min=Decimal(5) if notional.notional is None else notional.notional,
        price=price,
    )
    return replace(
        ours,
        base_asset=contract.base_asset,
        price_min=prices.min_price or ours.price_min,
        price_max=prices.max_price or ours.price_max,
        quantity_min=lot.min_qty or ours.quantity_min,
        quantity_max=lot.max_qty or ours.quantity_max,
        market_quantity_max=market_lot.max_qty or ours.market_quantity_max,
        percent_price_up=bounds.multiplier_up or ours.percent_price_up,
        percent_price_down=bounds.multiplier_down or ours.percent_price_down,
        market_take_bound=contract.market_take_bound,
        price_precision=contract.price_precision,
        quantity_precision=contract.quantity_precision,
        onboard_ms=contract.onboard_date,
        sectors=tuple(contract.underlying_sub_type),
        funding_interval_hours=funding_hours,
        status=contract.status,
    )
