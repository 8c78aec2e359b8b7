"""ccxt's class for this one exchange, without the hundred others that `import ccxt` brings along.

A start after a crash waits for its imports while legs are open, and three of four seconds of them were exchanges that nobody
trades here. So ccxt's two packages stand in `sys.modules` without having run; whoever asks one of them for more than this module
needed (a test, a notebook) makes it run, in place, and gets the real thing.
"""

import importlib
import importlib.util
import sys
from types import ModuleType
from typing import Any

PACKAGES = ("ccxt", "ccxt.async_support")


class _Asleep(ModuleType):
    """A package whose own code runs at the first question that only it can answer."""

    def __getattr__(self, name: str) -> Any:
        spec = self.__spec__
        if name.startswith("__") or spec is None or spec.loader is None:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        self.__class__ = ModuleType  # type: ignore[assignment]
        spec.loader.exec_module(self)
        return getattr(self, name)


def _put_to_sleep(name: str) -> None:
    if name in sys.modules:
        return
    spec = importlib.util.find_spec(name)
    if spec is None or spec.submodule_search_locations is None:
        raise ImportError(f"{name} is not installed")
    package = _Asleep(name)
    package.__spec__ = spec
    package.__path__ = list(spec.submodule_search_locations)
    package.__file__ = spec.origin
    package.__package__ = name
    sys.modules[name] = package


def _load() -> tuple[Any, Any]:
    for name in PACKAGES:
        _put_to_sleep(name)
    top, asynchronous = (sys.modules[name] for name in PACKAGES)
    errors = importlib.import_module("ccxt.base.errors")
    if isinstance(top, _Asleep):
        # What ccxt's own modules import from the package itself.
        vars(top).update({name: value for name, value in vars(errors).items() if not name.startswith("_")})
        top.Exchange = importlib.import_module("ccxt.base.exchange").Exchange  # type: ignore[attr-defined]
    found = importlib.import_module("ccxt.async_support.binanceusdm").binanceusdm
    for package in (top, asynchronous):
        if isinstance(package, _Asleep):
            # Importing left modules under names that are classes once the package has run.
            for name in [name for name, value in vars(package).items() if isinstance(value, ModuleType)]:
                delattr(package, name)
    top.async_support = asynchronous  # type: ignore[attr-defined]
    return found, errors.BaseError


binanceusdm, BaseError = _load()
