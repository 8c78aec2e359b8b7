"""What requests cost of Binance's limits. Source: its documentation of each endpoint."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from runner.exchange.port import Reading
from runner.exchange.priority import Priority

WEIGHT_LIMIT_PER_MINUTE = 2_400
ORDER_LIMIT_PER_10_SECONDS = 300
ORDER_LIMIT_PER_MINUTE = 1_200
BATCH_WEIGHT, BATCH_ORDERS = 5, 5
ENTRY_WEIGHT, ENTRY_ORDERS = 30, 5
"""What one entry may cost at once: both legs in a batch, and the first look-ups when something goes wrong."""

_WEIGHTS: Mapping[tuple[str, str], int] = MappingProxyType(
    {
        ("POST", "/fapi/v1/order"): 0,
        ("POST", "/fapi/v1/batchOrders"): BATCH_WEIGHT,
        ("POST", "/fapi/v1/countdownCancelAll"): 10,
        ("GET", "/fapi/v3/account"): 5,
        ("GET", "/fapi/v3/positionRisk"): 5,
        ("GET", "/fapi/v1/accountConfig"): 5,
        ("GET", "/fapi/v1/symbolConfig"): 5,
        ("GET", "/fapi/v1/userTrades"): 5,
        ("GET", "/fapi/v1/allOrders"): 5,
        ("GET", "/fapi/v1/commissionRate"): 20,
        ("GET", "/fapi/v1/income"): 30,
        ("GET", "/fapi/v1/fundingRate"): 0,  # A pool of its own.
        ("GET", "/fapi/v1/fundingInfo"): 0,
    }
)
_EVERY_SYMBOL: Mapping[str, int] = MappingProxyType(
    {"/fapi/v1/openOrders": 40, "/fapi/v1/ticker/24hr": 40, "/fapi/v1/premiumIndex": 10}
)
_ORDERS: Mapping[str, int] = MappingProxyType({"/fapi/v1/order": 1, "/fapi/v1/batchOrders": BATCH_ORDERS})
_KLINES_BELOW = ((100, 1), (500, 2), (1001, 5))
_KLINES_DEFAULT, _KLINES_MOST = 500, 10

READINGS: Mapping[Reading, tuple[Priority, int]] = MappingProxyType(
    {
        Reading.BALANCE: (Priority.ACCOUNT, 5),
        Reading.SETTINGS: (Priority.ACCOUNT, 30),
        Reading.FEES: (Priority.BACKGROUND, 20),
        Reading.FUNDING: (Priority.BACKGROUND, 30),
    }
)
"""What is read beside the trading: how urgent it is, and how heavy."""


@dataclass(frozen=True, slots=True)
class Pool:
    """A limit beside the weight, which no header tells: so many requests in any so many seconds, of the whole address."""

    requests: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one read."""

    weight: int
    pool: Pool | None = None


FUNDING_POOL = Pool(requests=400, seconds=300.0)
"""Of 500; the live runner uses it, too."""
_POOLS: Mapping[str, Pool] = MappingProxyType({"/fapi/v1/fundingRate": FUNDING_POOL})


def cost_of(path: str, parameters: Mapping[str, Any]) -> Cost:
    """What reading this costs."""
    return Cost(weight_of("GET", path, parameters), _POOLS.get(path))


def weight_of(method: str, path: str, parameters: Mapping[str, Any]) -> int:
    """The weight of one request; 1 for what is not listed."""
    if path == "/fapi/v1/klines":
        limit = int(parameters.get("limit", _KLINES_DEFAULT))
        return next((weight for bound, weight in _KLINES_BELOW if limit < bound), _KLINES_MOST)
    if method == "GET" and path in _EVERY_SYMBOL and "symbol" not in parameters:
        return _EVERY_SYMBOL[path]
    return _WEIGHTS.get((method, path), 1)


def orders_of(method: str, path: str) -> int:
    """How many orders a request counts for; a batch counts as five, however many it holds."""
    return _ORDERS.get(path, 0) if method == "POST" else 0
