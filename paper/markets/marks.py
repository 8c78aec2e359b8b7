"""Mark and index prices: the book's middle, with the digits Binance prints."""

from decimal import Decimal

from paper.market import Book, Mark

_DIGITS = Decimal("0.00000001")
_INDEX_DISCOUNT = Decimal("0.99995")


def make_mark(book: Book, funding_rate: Decimal, next_funding_ms: int, now_ms: int) -> Mark:
    """The mark that follows from the newest book."""
    middle = (book.bids[0][0] + book.asks[0][0]) / 2
    return Mark(
        symbol=book.symbol,
        mark_price=middle.quantize(_DIGITS),
        index_price=(middle * _INDEX_DISCOUNT).quantize(_DIGITS),
        funding_rate=funding_rate,
        next_funding_ms=next_funding_ms,
        event_ms=now_ms,
    )
