"""The exchange that this program trades at. A second one is chosen here, by the configuration, and nowhere else."""

from collections.abc import Callable

from domain.symbols import Symbol
from runner.config import Settings
from runner.exchange.binance import connection as binance
from runner.exchange.binance.codes import kind_of_code
from runner.exchange.connection import Connection
from runner.ports import Clock

__all__ = ["connect", "kind_of_code"]


def connect(settings: Settings, clock: Clock, on_rules_doubted: Callable[[Symbol, str], None]) -> Connection:
    """Make the parts; nothing connects yet. `on_rules_doubted`: a contract was refused, with this code, what its rules allow."""
    return binance.connect(settings, clock, on_rules_doubted)
