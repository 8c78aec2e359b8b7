"""ccxt, unmodified, pointed at production, the demo environment or another host that speaks Binance's paths.

A few hooks are overridden. Where ccxt guesses an exception class from a code and a host name, we keep status, code and text as they
came, because the class alone cannot tell "refused" from "may have happened". Every request passes the budget on its way out, so
that none leaves during a ban, whoever makes it. Requests are stamped with the exchange's time, not with the machine's. And they travel
by a session of ours, which follows nobody elsewhere and reads no more than an answer can be long.
"""

from contextvars import ContextVar
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlsplit

from runner.config import Settings
from runner.exchange.binance.budget import Budget
from runner.exchange.binance.ccxt_alone import binanceusdm
from runner.exchange.binance.transport import open_session
from runner.exchange.binance.weights import orders_of, weight_of
from runner.exchange.priority import Priority

PRIORITY: ContextVar[Priority] = ContextVar("PRIORITY", default=Priority.BACKGROUND)
"""Of the request that is being made: ccxt's calls have no place for it. Set by `requests.send`."""


class ExchangeReply(Exception):
    """The exchange answered with an error body or status."""

    def __init__(self, http_status: int, code: int | None, message: str) -> None:
        super().__init__(f"HTTP {http_status}, code {code}: {message}")
        self.http_status = http_status
        self.code = code
        self.message = message


class Client(Protocol):
    """The raw endpoints this project calls; ccxt makes them at run time, where a type checker cannot see them."""

    async def close(self) -> None: ...
    async def fapiPublicGetTime(self, params: Any = ...) -> Any: ...  # noqa: N802
    async def fapiPublicGetExchangeInfo(self, params: Any = ...) -> Any: ...  # noqa: N802
    async def fapiPublicGetKlines(self, params: Any = ...) -> Any: ...  # noqa: N802
    async def fapiPublicGetPremiumIndex(self, params: Any = ...) -> Any: ...  # noqa: N802
    async def fapiPublicGetFundingInfo(self, params: Any = ...) -> Any: ...  # noqa: N802
    async def fapiPublicGetFundingRate(self, params: Any = ...) -> Any: ...  # noqa: N802
    async def fapiPublicGetTicker24hr(self, params: Any = ...) -> Any: ...  # noqa: N802
    async def fapiPrivatePostOrder(self, params: Any = ...) -> Any: ...  # noqa: N802
    async def fapiPrivatePostBatchOrders(self, params: Any = ...) -> Any: ...  # noqa: N802
    async def fapiPrivateGetOrder(self, params: Any = ...) -> Any: ...  # noqa: N802
    async def fapiPrivateDeleteOrder(self, params: Any = ...) -> Any: ...  # noqa: N802
    async def fapiPrivateGetOpenOrders(self, params: Any = ...) -> Any: ...  # noqa: N802
    async def fapiPrivateGetUserTrades(self, params: Any = ...) -> Any: ...  # noqa: N802
    async def fapiPrivateV3GetPositionRisk(self, params: Any = ...) -> Any: ...  # noqa: N802
    async def fapiPrivateV3GetAccount(self, params: Any = ...) -> Any: ...  # noqa: N802
    async def fapiPrivateGetIncome(self, params: Any = ...) -> Any: ...  # noqa: N802
    async def fapiPrivateGetLeverageBracket(self, params: Any = ...) -> Any: ...  # noqa: N802
    async def fapiPrivateGetCommissionRate(self, params: Any = ...) -> Any: ...  # noqa: N802
    async def fapiPrivateGetAccountConfig(self, params: Any = ...) -> Any: ...  # noqa: N802
    async def fapiPrivateGetSymbolConfig(self, params: Any = ...) -> Any: ...  # noqa: N802
    async def fapiPrivatePostLeverage(self, params: Any = ...) -> Any: ...  # noqa: N802
    async def fapiPrivatePostMarginType(self, params: Any = ...) -> Any: ...  # noqa: N802
    async def fapiPrivatePostCountdownCancelAll(self, params: Any = ...) -> Any: ...  # noqa: N802
    async def fapiPrivatePostListenKey(self, params: Any = ...) -> Any: ...  # noqa: N802
    async def fapiPrivatePutListenKey(self, params: Any = ...) -> Any: ...  # noqa: N802


def code_of(raw: Any) -> int | None:
    """The exchange's numeric code, or None for anything that is not one."""
    text = str(raw).strip()
    return int(text) if text.isascii() and text.removeprefix("-").isdigit() else None


class _Binance(binanceusdm):  # type: ignore[misc]  # ccxt is untyped.
    budget: Budget
    session: Any

    # Both are called by ccxt: before each request, and by whoever is done with the client.
    def open(self, lazy: bool = False) -> None:
        super().open(lazy)
        if self.session is None:
            self.session = open_session(self.ssl_context)

    async def close(self, *clean: Any) -> None:
        session = self.session
        await super().close(*clean)
        if session is not None:
            await session.close()

    def nonce(self) -> int:
        return self.budget.exchange_clock.now_ms()

    # Its signature is ccxt's.
    async def fetch(self, url: str, method: str = "GET", headers: Any = None, body: Any = None) -> Any:
        """Raises: HeldBack when the budget keeps the request; nothing has left then."""
        parts = urlsplit(url)
        weight = weight_of(method, parts.path, dict(parse_qsl(parts.query)))
        with self.budget.spending(PRIORITY.get(), weight, orders_of(method, parts.path)):
            return await super().fetch(url, method, headers, body)

    # Both hooks are called by ccxt with positional arguments, in the order spelt out here.
    def on_rest_response(self, *reply: Any) -> str:
        code, _reason, _url, _method, headers, body, *_request = reply
        self.budget.observe(code, headers, body)
        return str(super().on_rest_response(*reply))

    def handle_errors(self, *reply: Any) -> None:
        code, reason, _url, _method, _headers, _body, response, *_request = reply
        exchange_code, message = None, f"{reason}: no JSON body"
        if isinstance(response, dict):
            exchange_code = code_of(response.get("code"))
            message = str(response.get("msg", reason))
        if code >= 400 or (exchange_code is not None and exchange_code < 0):
            raise ExchangeReply(code, exchange_code, message[:300])
        if response is None:
            raise ExchangeReply(code, None, "the body is not JSON")


def make_client(settings: Settings, budget: Budget) -> Client:
    """A ccxt client for these settings; close it with `await client.close()`."""
    key, secret = settings.binance_api_key, settings.binance_api_secret
    client = _Binance(
        {
            "apiKey": key.get_secret_value() if key else None,
            "secret": secret.get_secret_value() if secret else None,
            "session": None,  # Ours, made when the loop runs.
            "enableRateLimit": False,  # One budget for the whole IP, from the exchange's own headers.
            "timeout": round(settings.data.request_timeout_seconds * 1000),
            "options": {
                "fetchCurrencies": False,
                "warnOnFetchOpenOrdersWithoutSymbol": False,
                "recvWindow": settings.execution.recv_window_ms,
            },
        }
    )
    client.budget = budget
    client.enableLastHttpResponse = False
    client.enableLastJsonResponse = False
    if settings.exchange_rest_url is not None:
        _point_at(client, settings.exchange_rest_url)
    elif settings.data.use_testnet:
        client.enable_demo_trading(True)  # noqa: FBT003
    made: Client = client
    return made


def _point_at(client: Any, rest_url: str) -> None:
    api = client.urls["api"]
    for name, url in api.items():
        if isinstance(url, str):  # Keep the path, replace the host: nothing may leave for anywhere else.
            api[name] = rest_url + "/" + url.split("://", 1)[1].split("/", 1)[1]
