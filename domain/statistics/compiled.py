"""The one compiler setting of the statistics: machine code, kept on disk between processes where the disk lets us."""

import hashlib
from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit

_Function = TypeVar("_Function", bound=Callable[..., Any])

# Sums may be reordered, so that they fill vector registers; NaN and infinity keep their meaning.
_FASTMATH = {"contract", "reassoc", "nsz"}
# Without the interpreter's lock: a scan on several threads runs on as many cores.
_OPTIONS: dict[str, Any] = {"error_model": "numpy", "fastmath": _FASTMATH, "nogil": True}
_fingerprints: dict[int, str] = {}


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
    """Of the function's code, the constants it reads and the compiled functions that it calls."""
    code = function.__code__
    used = []
    for name in code.co_names:
        value = function.__globals__.get(name)
        used.append(_fingerprints.get(id(value)) or (repr(value) if isinstance(value, int | float | tuple) else name))
    text = repr((code.co_code.hex(), code.co_consts, code.co_varnames, used, sorted(_FASTMATH), _OPTIONS["nogil"]))
    return hashlib.sha256(text.encode()).hexdigest()[:12]
