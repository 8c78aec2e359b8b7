"""Whether a reply has the shape that is documented. One that has not is no answer: it becomes OutcomeUnknown, never "nothing"."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from runner.exchange.errors import OutcomeUnknown

UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)
"""What taking a strange reply apart raises, here and inside ccxt; `wire.Unreadable` is a ValueError."""

_T = TypeVar("_T")


@contextlib.contextmanager
def reading(what: str) -> Iterator[None]:
    """Around whatever takes a reply apart. Raises: OutcomeUnknown for one that is not as documented."""
    try:
        yield
    except UNREADABLE as error:
        raise OutcomeUnknown(f"{what}: unreadable ({type(error).__name__})") from None


def object_of(what: str, reply: Any) -> Mapping[str, Any]:
    """Raises: OutcomeUnknown for anything but an object."""
    if not isinstance(reply, dict):
        raise OutcomeUnknown(f"{what}: expected an object, not {_name(reply)}")
    return reply


def list_of(what: str, reply: Any) -> Sequence[Any]:
    """Raises: OutcomeUnknown for anything but a list: an empty object must not pass for an empty list."""
    if not isinstance(reply, list):
        raise OutcomeUnknown(f"{what}: expected a list, not {_name(reply)}")
    return reply


def rows_of(what: str, reply: Any, read: Callable[[Any], _T]) -> list[_T]:
    """Every row of a list, read; an error names the row. Raises: OutcomeUnknown."""
    found = []
    for number, row in enumerate(list_of(what, reply)):
        with reading(f"{what}, row {number}"):
            found.append(read(row))
    return found


def _name(reply: Any) -> str:
    return {dict: "an object", list: "a list", str: "a text", type(None): "null"}.get(type(reply), type(reply).__name__)
