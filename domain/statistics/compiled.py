"""The one compiler setting of the statistics: machine code, kept on disk between processes where the disk lets us.

Compiled code takes tuples and no dataclasses. A `kernel_record` is a dataclass, its fields named and explained once; `for_kernel`
hands the same arrays over as a named tuple of the same names, so that what reads `lanes.energy` reads it on either side.
"""

import hashlib
import sys
from collections import namedtuple
from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeVar

from numba import njit

_Function = TypeVar("_Function", bound=Callable[..., Any])
_Record = TypeVar("_Record")

# Sums may be reordered, so that they fill vector registers; NaN and infinity keep their meaning.
_FASTMATH = {"contract", "reassoc", "nsz"}
# Without the interpreter's lock: a scan on several threads runs on as many cores.
_OPTIONS: dict[str, Any] = {"error_model": "numpy", "fastmath": _FASTMATH, "nogil": True}
_fingerprints: dict[int, str] = {}
_tuples: dict[type, Any] = {}  # Of each kernel record the named tuple that compiled code is given.


def kernel_record(kind: type[_Record]) -> type[_Record]:
    """A dataclass of arrays that compiled code may be given, by way of `for_kernel`."""
    name = f"{kind.__name__}InKernel"
    made = namedtuple(name, [field.name for field in fields(kind)], module=kind.__module__)  # type: ignore[arg-type, misc]  # noqa: PYI024 - made of the record.
    # numba keeps the name of the type beside the code, and looks it up when it loads that.
    setattr(sys.modules[kind.__module__], name, made)
    _tuples[kind] = made
    return kind


def for_kernel(record: _Record) -> _Record:
    """The record as compiled code takes it: the same arrays under the same names. What is written into them stands in the record."""
    found: _Record = _tuples[type(record)](*(getattr(record, field.name) for field in fields(record)))  # type: ignore[arg-type]
    return found


def compiled(function: _Function) -> _Function:
    """Compile at the first call. The code is cached beside the source, else in the user's cache, else not at all.

    numba's cache notices changes of a function's own file only, not of what it calls elsewhere. So the name under which
    the code is kept says what all of it was made from.
    """
    fingerprint = _fingerprint(function)
    function.__qualname__ = f"{function.__qualname__}-{fingerprint}"
    try:
        machine = njit(cache=True, **_OPTIONS)(function)
    except RuntimeError:  # A read-only installation without a home folder: slower to start, never wrong.
        machine = njit(**_OPTIONS)(function)
    _fingerprints[id(machine)] = fingerprint
    return machine  # type: ignore[no-any-return]


def _fingerprint(function: Callable[..., Any]) -> str:
    """Of the function's code, the constants it reads, the compiled functions that it calls, and the records it is given."""
    code = function.__code__
    used = []
    for name in code.co_names:
        value = function.__globals__.get(name)
        used.append(_fingerprints.get(id(value)) or (repr(value) if isinstance(value, int | float | tuple) else name))
    records = [getattr(_tuples.get(kind, kind), "_fields", None) for kind in function.__annotations__.values()]
    text = repr(
        (records, code.co_code.hex(), code.co_consts, code.co_varnames, used, sorted(_FASTMATH), _OPTIONS["nogil"])
    )
    return hashlib.sha256(text.encode()).hexdigest()[:12]
