"""Binance's rows, typed as ours. Numbers arrive as strings and become Decimal; unknown fields are ignored."""

from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from domain.orders import Fill, OrderChange, OrderIntent, OrderReport, Side
from domain.symbols import ClientOrderId, Symbol
from runner.exchange.binance.symbols import exchange_id

SymbolOf = Callable[[str], Symbol | None]

CHANGE_OF_STATUS = {
    "NEW": OrderChange.ACCEPTED,
    "PARTIALLY_FILLED": OrderChange.PARTIALLY_FILLED,
    "FILLED": OrderChange.FILLED,
    "CANCELED": OrderChange.CANCELLED,
    "EXPIRED": OrderChange.EXPIRED,
    "EXPIRED_IN_MATCH": OrderChange.EXPIRED,
    "REJECTED": OrderChange.REFUSED,
}


class Unreadable(ValueError):
    """A row that does not say what it must."""


def decimal_of(raw: Any) -> Decimal:
    """Raises: Unreadable for anything that is not a finite number."""
    try:
        number = Decimal(str(raw))
    except InvalidOperation:
        raise Unreadable(f"not a number: {str(raw)[:40]!r}") from None
    if not number.is_finite():
        raise Unreadable(f"not a finite number: {number}")
    return number


def _field(row: Mapping[str, Any], name: str) -> Any:
    try:
        return row[name]
    except (KeyError, TypeError):
        raise Unreadable(f"a row without {name!r}") from None


def _symbol(row: Mapping[str, Any], name: str, symbol_of: SymbolOf) -> Symbol:
    raw = str(_field(row, name))
    symbol = symbol_of(raw)
    if symbol is None:
        raise Unreadable(f"a symbol nobody listed: {raw[:30]!r}")
    return symbol


def _side(raw: Any) -> Side:
    if raw == "BUY":
        return Side.BUY
    if raw == "SELL":
        return Side.SELL
    raise Unreadable(f"side {str(raw)[:20]!r}")


def _average(raw: Any) -> Decimal | None:
    """The immediate reply lacks it or says 0; neither is a price."""
    if raw in {None, ""}:
        return None
    price = decimal_of(raw)
    return price if price > 0 else None


def order_report(row: Mapping[str, Any], symbol_of: SymbolOf) -> OrderReport:
    """A reply to an order, a cancel or a query. Raises: Unreadable."""
    status = str(_field(row, "status"))
    change = CHANGE_OF_STATUS.get(status)
    if change is None:
        raise Unreadable(f"order status {status[:30]!r}")
    return OrderReport(
        client_order_id=ClientOrderId(str(_field(row, "clientOrderId"))),
        exchange_order_id=str(_field(row, "orderId")),
        symbol=_symbol(row, "symbol", symbol_of),
        change=change,
        filled=decimal_of(row.get("executedQty", "0")),
        average_price=_average(row.get("avgPrice")),
        at_ms=int(row.get("updateTime") or row.get("time") or 0),
    )


def fill_of_user_trade(row: Mapping[str, Any], client_order_id: ClientOrderId, symbol_of: SymbolOf) -> Fill:
    """A row of userTrades, which names the order by the exchange's id only. Raises: Unreadable."""
    return Fill(
        symbol=_symbol(row, "symbol", symbol_of),
        exchange_trade_id=str(_field(row, "id")),
        exchange_order_id=str(_field(row, "orderId")),
        client_order_id=client_order_id,
        side=_side(_field(row, "side")),
        quantity=decimal_of(_field(row, "qty")),
        price=decimal_of(_field(row, "price")),
        fee=decimal_of(row.get("commission", "0")),
        fee_asset=str(row.get("commissionAsset", "USDT")),
        at_ms=int(_field(row, "time")),
    )


def report_of_event(order: Mapping[str, Any], symbol_of: SymbolOf) -> OrderReport:
    """The `o` of an ORDER_TRADE_UPDATE. Raises: Unreadable."""
    status = str(_field(order, "X"))
    change = CHANGE_OF_STATUS.get(status)
    if change is None:
        raise Unreadable(f"order status {status[:30]!r}")
    return OrderReport(
        client_order_id=ClientOrderId(str(_field(order, "c"))),
        exchange_order_id=str(_field(order, "i")),
        symbol=_symbol(order, "s", symbol_of),
        change=change,
        filled=decimal_of(order.get("z", "0")),
        average_price=_average(order.get("ap")),
        at_ms=int(order.get("T", 0)),
    )


def fill_of_event(order: Mapping[str, Any], symbol_of: SymbolOf) -> Fill | None:
    """The execution inside an ORDER_TRADE_UPDATE, when there is one. Raises: Unreadable."""
    quantity = decimal_of(order.get("l", "0"))
    if quantity <= 0 or not order.get("t"):
        return None
    return Fill(
        symbol=_symbol(order, "s", symbol_of),
        exchange_trade_id=str(order["t"]),
        exchange_order_id=str(_field(order, "i")),
        client_order_id=ClientOrderId(str(_field(order, "c"))),
        side=_side(_field(order, "S")),
        quantity=quantity,
        price=decimal_of(_field(order, "L")),
        fee=decimal_of(order.get("n", "0")),
        fee_asset=str(order.get("N", "USDT")),
        at_ms=int(order.get("T", 0)),
    )


def order_parameters(intent: OrderIntent) -> dict[str, str]:
    """One order as the exchange's form fields; plain decimals, never scientific notation."""
    parameters = {
        "symbol": exchange_id(intent.symbol),
        "side": intent.side.value.upper(),
        "type": intent.order_type.value.upper(),
        "quantity": f"{intent.quantity:f}",
        "newClientOrderId": intent.client_order_id,
        "newOrderRespType": "RESULT",
    }
    if intent.limit_price is not None:
        parameters["price"] = f"{intent.limit_price:f}"
    if intent.time_in_force is not None:
        parameters["timeInForce"] = intent.time_in_force.value
    if intent.reduce_only:
        parameters["reduceOnly"] = "true"
    return parameters
