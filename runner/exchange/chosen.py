"""The exchange that this program trades at. A second one is chosen here, by the configuration, and nowhere else."""

from runner.exchange.binance.codes import kind_of_code
from runner.exchange.binance.connection import Binance as Connection
from runner.exchange.binance.connection import connect

__all__ = ["Connection", "connect", "kind_of_code"]
