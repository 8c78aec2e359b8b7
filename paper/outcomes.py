"""How a fault answers: the replies of the reference sheet's section 6.3, and whether the order was placed."""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
from aiohttp import web

from paper.errors import ApiError, refused
from paper.faults import FaultSpec, Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One row of the table: was it carried out, and what does the sender see."""

    executed: bool
    code: int | None = None  # JSON error.
    status: int = 200
    text: str | None = None  # A body that is not ours.
    dropped: bool = False
    delayed: bool = False
    retry_after_seconds: int | None = None


# fmt: off
OUTCOMES: Mapping[Kind, Outcome] = {
    Kind.EXECUTED_503:     Outcome(executed=True, code=-1000, status=503),
    Kind.EXECUTED_408:     Outcome(executed=True, code=-1007, status=408),
    Kind.EXECUTED_1006:    Outcome(executed=True, code=-1006, status=400),
    Kind.EXECUTED_DELAYED: Outcome(executed=True, delayed=True),
    Kind.EXECUTED_DROPPED: Outcome(executed=True, dropped=True),
    Kind.EXECUTED_GARBAGE: Outcome(executed=True, text='{"orderId": 83897\x00<<'),
    Kind.EXECUTED_EMPTY:   Outcome(executed=True, text=""),
    Kind.LOST_503:         Outcome(executed=False, code=-1000, status=503),
    Kind.LOST_408:         Outcome(executed=False, code=-1007, status=408),
    Kind.LOST_1006:        Outcome(executed=False, code=-1006, status=400),
    Kind.LOST_DELAYED:     Outcome(executed=False, code=-1007, status=408, delayed=True),
    Kind.LOST_DROPPED:     Outcome(executed=False, dropped=True),
    Kind.REFUSED_503:      Outcome(executed=False, text="Service Unavailable.", status=503),
    Kind.REFUSED_1008:     Outcome(executed=False, code=-1008, status=503),
    Kind.REFUSED_1001:     Outcome(executed=False, code=-1001, status=503),
    Kind.REFUSED_1021:     Outcome(executed=False, code=-1021, status=400),
    Kind.REFUSED_429:      Outcome(executed=False, code=-1003, status=429, retry_after_seconds=1),
    Kind.REFUSED_418:      Outcome(executed=False, code=-1003, status=418, retry_after_seconds=2),
    Kind.REFUSED_403:      Outcome(executed=False, text="<html><body>403 Forbidden</body></html>", status=403),
}
# fmt: on
LATE_OUTCOMES: Mapping[str, Outcome] = {
    "dropped": OUTCOMES[Kind.LOST_DROPPED],
    "503": OUTCOMES[Kind.LOST_503],
    "408": OUTCOMES[Kind.LOST_408],
}


def outcome_of(spec: FaultSpec) -> Outcome:
    """The row for a fault; a late order looks lost."""
    return LATE_OUTCOMES[spec.parameters.reply] if spec.kind is Kind.LATE else OUTCOMES[spec.kind]


def error_for(outcome: Outcome) -> ApiError:
    """The same outcome inside a batch, where only codes exist: whatever is not a code is a time-out."""
    code = -1007 if outcome.code is None else outcome.code
    error = refused(code, 2400) if code == -1003 else refused(code)
    return ApiError(error.code, error.text, outcome.status if outcome.code is not None else 408)


def json_reply(payload: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """A JSON body as the exchange sends it."""
    return web.Response(
        body=msgspec.json.encode(payload), status=status, content_type="application/json", headers=headers
    )


def fault_reply(outcome: Outcome, request: web.Request) -> web.Response:
    """The response of a fault. Aborts the connection when the reply is to be lost."""
    if outcome.dropped:
        if request.transport is not None:
            request.transport.abort()
        return web.Response(status=503)
    if outcome.text is not None:
        return web.Response(text=outcome.text, status=outcome.status, content_type="text/html")
    headers = {} if outcome.retry_after_seconds is None else {"Retry-After": str(outcome.retry_after_seconds)}
    return json_reply(error_for(outcome).body(), status=outcome.status, headers=headers)
