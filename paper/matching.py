"""What an order can take from a book: a bounded depth, whose taken part stays taken until the next book."""

from collections.abc import Iterator
from decimal import Decimal

from paper.market import Book, Level
from paper.numbers import ZERO


class Depth:
    """The newest book of one symbol minus what has been taken from it."""

    __slots__ = ("_taken", "book")

    def __init__(self, book: Book) -> None:
        self.book = book
        self._taken: dict[tuple[str, Decimal], Decimal] = {}

    def renew(self, book: Book) -> None:
        """A newer book replaces the old one and everything taken from it."""
        if book.update_id != self.book.update_id:
            self._taken.clear()
        self.book = book

    def available(self, taker_side: str) -> Iterator[Level]:
        """The levels a taker meets, best first, each with what is left of it."""
        for price, quantity in self.book.asks if taker_side == "BUY" else self.book.bids:
            left = quantity - self._taken.get((taker_side, price), ZERO)
            if left > 0:
                yield price, left

    def best(self, taker_side: str) -> Decimal | None:
        """The best price left for a taker."""
        return next((price for price, _ in self.available(taker_side)), None)

    def plan(self, taker_side: str, quantity: Decimal, worst_price: Decimal) -> list[Level]:
        """The fills a taker of this quantity would get at its worst price or better. Takes nothing yet."""
        fills: list[Level] = []
        wanted = quantity
        for price, left in self.available(taker_side):
            if wanted <= 0 or (price > worst_price if taker_side == "BUY" else price < worst_price):
                break
            part = min(wanted, left)
            fills.append((price, part))
            wanted -= part
        return fills

    def take(self, taker_side: str, price: Decimal, quantity: Decimal) -> None:
        """Remove what was filled."""
        key = (taker_side, price)
        self._taken[key] = self._taken.get(key, ZERO) + quantity
