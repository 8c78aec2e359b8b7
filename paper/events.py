"""What the user stream says: the payloads of ORDER_TRADE_UPDATE, ACCOUNT_UPDATE and their lesser kin."""

from collections.abc import Iterable, Mapping
from decimal import Decimal

from paper.account import Account, AccountPosition, Trade
from paper.numbers import ZERO, fixed8, plain
from paper.orders import Order

Event = Mapping[str, object]
ASSET = "USDT"


def order_trade_update(order: Order, execution: str, now_ms: int, trade: Trade | None = None) -> Event:
    """One step of an order: NEW, TRADE, CANCELED, EXPIRED, AMENDMENT or CALCULATED."""
    resting = order.remaining * order.price if order.open and order.type == "LIMIT" else ZERO
    body: dict[str, object] = {
        "s": order.symbol,
        "c": order.client_order_id,
        "S": order.side,
        "o": order.type,
        "f": order.time_in_force,
        "q": plain(order.quantity),
        "p": plain(order.price),
        "ap": plain(order.average_price.quantize(Decimal("0.0000000001"))) if order.filled else "0",
        "sp": "0",
        "x": execution,
        "X": order.status,
        "i": order.order_id,
        "l": "0" if trade is None else plain(trade.quantity),
        "z": plain(order.filled),
        "L": "0" if trade is None else plain(trade.price),
        "n": "0" if trade is None else plain(trade.commission),
        "N": ASSET,
        "T": now_ms,
        "t": 0 if trade is None else trade.trade_id,
        "b": plain(resting) if order.side == "BUY" else "0",
        "a": plain(resting) if order.side == "SELL" else "0",
        "m": trade is not None and trade.maker,
        "R": order.reduce_only,
        "wt": "CONTRACT_PRICE",
        "ot": order.type,
        "ps": order.position_side,
        "cp": False,
        "rp": "0" if trade is None else plain(trade.realized),
        "pP": False,
        "si": 0,
        "ss": 0,
        "V": order.stp_mode,
        "pm": "NONE",
        "gtd": order.good_till_ms,
        "er": str(order.expiry_reason),
    }
    if execution == "AMENDMENT":
        body["M"] = order.amendments
    return {"e": "ORDER_TRADE_UPDATE", "T": now_ms, "E": now_ms, "o": body}


def account_update(
    account: Account,
    reason: str,
    now_ms: int,
    *,
    positions: Iterable[tuple[AccountPosition, Decimal, Decimal]] = (),
    change: Decimal = ZERO,
    symbol: str | None = None,
) -> Event:
    """What changed in the account: the wallet, and positions with their mark price and break-even price."""
    wallet = fixed8(account.wallet)
    body: dict[str, object] = {
        "m": reason,
        "B": [{"a": ASSET, "wb": wallet, "cw": wallet, "bc": plain(change)}],
        "P": [
            {
                "s": position.symbol,
                "pa": plain(position.amount),
                "ep": plain(position.entry_price),
                "bep": plain(break_even),
                "cr": plain(position.realized),
                "up": fixed8(position.unrealized(mark_price)),
                "mt": "isolated" if position.symbol in account.isolated else "cross",
                "iw": "0",
                "ps": position.side,
                "ma": ASSET,
            }
            for position, mark_price, break_even in positions
        ],
    }
    if symbol is not None:
        body["S"] = symbol
    return {"e": "ACCOUNT_UPDATE", "T": now_ms, "E": now_ms, "a": body}


def trade_lite(order: Order, trade: Trade, now_ms: int) -> Event:
    """The short form of a fill."""
    return {
        "e": "TRADE_LITE",
        "E": now_ms,
        "T": now_ms,
        "s": order.symbol,
        "q": plain(order.quantity),
        "p": plain(order.price),
        "m": trade.maker,
        "c": order.client_order_id,
        "S": order.side,
        "L": plain(trade.price),
        "l": plain(trade.quantity),
        "t": trade.trade_id,
        "i": order.order_id,
    }


def leverage_update(symbol: str, leverage: int, now_ms: int) -> Event:
    """ACCOUNT_CONFIG_UPDATE after a change of leverage."""
    return {"e": "ACCOUNT_CONFIG_UPDATE", "E": now_ms, "T": now_ms, "ac": {"s": symbol, "l": leverage}}


def assets_mode_update(*, multi_assets: bool, now_ms: int) -> Event:
    """ACCOUNT_CONFIG_UPDATE after a change of the assets mode."""
    return {"e": "ACCOUNT_CONFIG_UPDATE", "E": now_ms, "T": now_ms, "ai": {"j": multi_assets}}


def listen_key_expired(listen_key: str, now_ms: int) -> Event:
    """The last words of a user stream whose key ran out; its socket stays open."""
    return {"e": "listenKeyExpired", "E": now_ms, "listenKey": listen_key}
