"""One request to the exchange, bounded in time, its every outcome translated into ours."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp

from runner.exchange.binance.budget import HeldBack
from runner.exchange.binance.ccxt_alone import BaseError
from runner.exchange.binance.client import PRIORITY, ExchangeReply
from runner.exchange.binance.codes import is_refusal, kind_of
from runner.exchange.binance.shapes import UNREADABLE
from runner.exchange.binance.transport import NoAnswer, distrust
from runner.exchange.errors import OutcomeUnknown, Refused, Unreachable
from runner.exchange.priority import Priority, raised


async def send(
    what: str,
    request: Callable[[], Awaitable[Any]],
    *,
    timeout_seconds: float,
    priority: Priority = Priority.BACKGROUND,
) -> Any:
    """The parsed reply. Raises: Refused (proven not executed), Unreachable (never left), OutcomeUnknown (all else).

    `what` names the endpoint in errors; never the URL, which carries a signature.
    """
    token = PRIORITY.set(raised(priority))
    try:
        async with asyncio.timeout(timeout_seconds):
            return await request()
    except HeldBack as held:
        raise Unreachable(f"{what}: {held}") from None
    except ExchangeReply as answer:
        kind = kind_of(answer.http_status, answer.code)
        if kind is not None and is_refusal(answer.http_status, answer.code):
            raise Refused(kind, answer.code or answer.http_status, answer.message, answer.http_status) from None
        # A code under a 5xx proves nothing, least of all "no such order": it must not pass for an absence.
        code = answer.code if answer.http_status < 500 else None
        raise OutcomeUnknown(f"{what}: {answer}", code, kind) from None
    except NoAnswer as problem:
        raise OutcomeUnknown(f"{what}: {problem}") from None
    except TimeoutError:
        raise OutcomeUnknown(f"{what}: no answer within {timeout_seconds:g} s") from None
    except BaseError as error:
        # Only a connection that was never made proves that nothing left; one that broke proves nothing.
        if isinstance(error.__cause__, aiohttp.ClientConnectorError | socket.gaierror):
            raise Unreachable(f"{what}: {distrust(error.__cause__) or 'cannot connect'}") from None
        raise OutcomeUnknown(f"{what}: {type(error).__name__}") from None
    except (aiohttp.ClientError, OSError, *UNREADABLE) as error:
        raise OutcomeUnknown(f"{what}: {type(error).__name__}") from None
    finally:
        PRIORITY.reset(token)
