"""Unmodified ccxt, pointed at a loopback exchange by configuration alone."""

from typing import Any

import ccxt.async_support
import ccxt.pro


def loopback(
    cls: Any,
    rest_url: str,
    stream_url: str,
    *,
    key: str = "paper-key",
    secret: str = "paper-secret",  # noqa: S107
    **options: Any,
) -> Any:
    client = cls({
        "apiKey": key, "secret": secret, "enableRateLimit": False,
        "options": {"fetchCurrencies": False, "warnOnFetchOpenOrdersWithoutSymbol": False, **options},
    })  # fmt: skip
    api = client.urls["api"]
    for name in list(api):
        if isinstance(api[name], str):
            api[name] = rest_url + "/" + api[name].split("://", 1)[1].split("/", 1)[1]
    if "ws" in api:
        for name, url in list(api["ws"].items()):
            if isinstance(url, str):
                api["ws"][name] = stream_url + "/ws"
        api["ws"]["ws-api"]["linear"] = stream_url + "/ws-fapi/v1"
    for part in ("exact", "broad"):
        client.exceptions.setdefault(part, {}).update(client.exceptions.get("linear", {}).get(part, {}))
    return client


def rest_client(rest_url: str, stream_url: str, **options: Any) -> Any:
    return loopback(ccxt.async_support.binanceusdm, rest_url, stream_url, **options)


def pro_client(rest_url: str, stream_url: str, **options: Any) -> Any:
    return loopback(ccxt.pro.binanceusdm, rest_url, stream_url, **options)
