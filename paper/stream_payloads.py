"""The payloads of the public streams, field by field as in Binance's samples, encoded once for all listeners."""

from collections.abc import Sequence
from decimal import Decimal

import msgspec

from paper.day_tickers import DayTicker
from paper.market import Book, Kline, Level, Listing, Mark, Market
from paper.numbers import fixed8
from paper.public_rest import level_rows

encode = msgspec.json.encode
USD_M, COIN_M = 1, 2


def book_ticker(book: Book) -> bytes:
    """Best bid and ask; the hot one, so it is put together by hand."""
    (bid, bid_quantity), (ask, ask_quantity) = book.bids[0], book.asks[0]
    at_ms, symbol = book.event_ms, book.symbol
    return (
        f'{{"e":"bookTicker","u":{book.update_id},"E":{at_ms},"T":{at_ms},"s":"{symbol}","ps":"{symbol}",'
        f'"b":"{bid:f}","B":"{bid_quantity:f}","a":"{ask:f}","A":"{ask_quantity:f}","st":1}}'
    ).encode()


def coin_margined_tickers(now_ms: int) -> list[bytes]:
    """COIN-M rows that leak into the all-market stream since both products share it (st 2)."""
    return [
        encode(
            {
                "e": "bookTicker",
                "u": now_ms,
                "E": now_ms,
                "T": now_ms,
                "s": f"{pair}_PERP",
                "ps": pair,
                "b": bid,
                "B": "120",
                "a": ask,
                "A": "95",
                "st": COIN_M,
            }
        )
        for pair, bid, ask in (("BTCUSD", "95010.1", "95010.2"), ("ETHUSD", "3401.11", "3401.12"))
    ]


def depth(book: Book, *, bids: Sequence[Level], asks: Sequence[Level], first_id: int, previous_id: int) -> bytes:
    """A depth event: levels with quantity zero have gone."""
    return encode(
        {
            "e": "depthUpdate",
            "E": book.event_ms,
            "T": book.event_ms,
            "s": book.symbol,
            "U": first_id,
            "u": book.update_id,
            "pu": previous_id,
            "b": level_rows(bids),
            "a": level_rows(asks),
            "ps": book.symbol,
            "st": USD_M,
        }
    )


def changed_levels(before: Sequence[Level], after: Sequence[Level]) -> list[Level]:
    """Levels that are new or differ, and those that have gone with quantity zero."""
    old, new = dict(before), dict(after)
    gone = [(price, Decimal(0)) for price in old if price not in new]
    return [level for level in after if old.get(level[0]) != level[1]] + gone


def trade(book: Book, *, price: Decimal, quantity: Decimal, trade_id: int, buyer_is_maker: bool) -> bytes:
    """One raw trade."""
    return encode(
        {
            "e": "trade",
            "E": book.event_ms,
            "T": book.event_ms,
            "s": book.symbol,
            "t": trade_id,
            "p": f"{price:f}",
            "q": f"{quantity:f}",
            "X": "MARKET",
            "m": buyer_is_maker,
            "st": USD_M,
        }
    )


def aggregate_trade(book: Book, *, price: Decimal, quantity: Decimal, trade_id: int, buyer_is_maker: bool) -> bytes:
    """Trades of 100 ms at one price."""
    return encode(
        {
            "e": "aggTrade",
            "E": book.event_ms,
            "s": book.symbol,
            "a": trade_id,
            "p": f"{price:f}",
            "q": f"{quantity:f}",
            "nq": f"{quantity:f}",
            "f": trade_id,
            "l": trade_id,
            "T": book.event_ms,
            "m": buyer_is_maker,
            "st": USD_M,
        }
    )


def mark_price(mark: Mark) -> dict[str, object]:
    """Mark, index and the coming funding; T is the settlement's time."""
    price = fixed8(mark.mark_price)
    return {
        "e": "markPriceUpdate",
        "E": mark.event_ms,
        "s": mark.symbol,
        "p": price,
        "i": fixed8(mark.index_price),
        "P": fixed8(mark.index_price),
        "r": f"{mark.funding_rate:.8f}",
        "ap": price,
        "T": mark.next_funding_ms,
        "st": USD_M,
    }


def coin_margined_mark(now_ms: int) -> dict[str, object]:
    """A COIN-M row of the all-market mark price stream."""
    price = "95010.15000000"
    return {
        "e": "markPriceUpdate",
        "E": now_ms,
        "s": "BTCUSD_PERP",
        "p": price,
        "i": price,
        "P": price,
        "r": "0.00010000",
        "ap": price,
        "T": now_ms // 28_800_000 * 28_800_000 + 28_800_000,
        "st": COIN_M,
    }


def kline(bar: Kline, *, symbol: str, interval: str, now_ms: int, closed: bool, continuous: bool) -> bytes:
    """One bar; `closed` is true in its final update only."""
    head: dict[str, object] = (
        {"e": "continuous_kline", "E": now_ms, "ps": symbol, "ct": "PERPETUAL"}
        if continuous
        else {"e": "kline", "E": now_ms, "s": symbol}
    )
    named = {} if continuous else {"s": symbol}
    taker_base, taker_quote = bar.volume / 2, bar.quote_volume / 2
    row = {
        "t": bar.open_ms,
        "T": bar.close_ms,
        **named,
        "i": interval,
        "f": 1,
        "L": max(1, bar.trades),
        "o": f"{bar.open:f}",
        "c": f"{bar.close:f}",
        "h": f"{bar.high:f}",
        "l": f"{bar.low:f}",
        "v": f"{bar.volume:f}",
        "n": bar.trades,
        "x": closed,
        "q": f"{bar.quote_volume:f}",
        "V": f"{taker_base:f}",
        "Q": f"{taker_quote:f}",
        "B": "0",
    }
    return encode({**head, "k": row})


def mini_ticker(symbol: str, day: DayTicker) -> dict[str, object]:
    """Last 24 hours in short."""
    return {
        "e": "24hrMiniTicker",
        "E": day.close_ms,
        "s": symbol,
        "c": f"{day.last:f}",
        "o": f"{day.open:f}",
        "h": f"{day.high:f}",
        "l": f"{day.low:f}",
        "v": f"{day.volume:f}",
        "q": f"{day.quote_volume:f}",
        "ps": symbol,
        "st": USD_M,
    }


def ticker(symbol: str, day: DayTicker) -> dict[str, object]:
    """Last 24 hours."""
    return {
        "e": "24hrTicker",
        "E": day.close_ms,
        "s": symbol,
        "p": f"{day.change:f}",
        "P": f"{day.change_percent:.3f}",
        "w": f"{day.average:f}",
        "c": f"{day.last:f}",
        "Q": f"{day.last_quantity:f}",
        "o": f"{day.open:f}",
        "h": f"{day.high:f}",
        "l": f"{day.low:f}",
        "v": f"{day.volume:f}",
        "q": f"{day.quote_volume:f}",
        "O": day.open_ms,
        "C": day.close_ms,
        "F": 1,
        "L": day.trades,
        "n": day.trades,
        "ps": symbol,
        "st": USD_M,
    }


def force_order(
    market: Market, *, symbol: str, side: str, quantity: Decimal, price: Decimal, average_price: Decimal
) -> bytes:
    """A liquidation as the public sees it."""
    now_ms = market.now_ms()
    order = {
        "s": symbol,
        "S": side,
        "o": "LIMIT",
        "f": "IOC",
        "q": f"{quantity:f}",
        "p": f"{price:f}",
        "ap": f"{average_price:f}",
        "X": "FILLED",
        "l": f"{quantity:f}",
        "z": f"{quantity:f}",
        "T": now_ms,
    }
    return encode({"e": "forceOrder", "E": now_ms, "o": order, "ps": symbol, "st": USD_M})


def contract_info(listing: Listing, now_ms: int) -> bytes:
    """A contract whose status changed, with its brackets."""
    return encode(
        {
            "e": "contractInfo",
            "E": now_ms,
            "s": listing.symbol,
            "ct": "PERPETUAL",
            "dt": listing.delivery_ms,
            "ot": listing.onboard_ms,
            "cs": listing.status,
            "bks": [
                {
                    "bs": number,
                    "bnf": int(bracket.notional_floor),
                    "bnc": int(bracket.notional_cap),
                    "mmr": float(bracket.maintenance_margin_rate),
                    "cf": float(bracket.cumulative),
                    "mi": 1,
                    "ma": bracket.leverage_max,
                }
                for number, bracket in enumerate(listing.brackets, 1)
            ],
            "st": USD_M,
        }
    )
