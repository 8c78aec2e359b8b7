"""What a request to an exchange can end in, beside an answer. They answer one question: did it happen?

ExchangeError
├─ Refused           the exchange said no: it did NOT happen, safe to decide again
├─ OutcomeUnknown    no proof either way: it MAY have happened, look it up, never resend
└─ Unreachable       the request never left: it did NOT happen, safe to retry

Decisions rest on the class and the kind; codes and messages are for people.
"""

from domain.errors import TandemError
from domain.refusals import Refusal, RefusalKind


class ExchangeError(TandemError):
    """The exchange, or the way to it."""


class Refused(ExchangeError):
    """A definite no: the adapter's table lists this answer as proof that nothing was executed."""

    def __init__(self, kind: RefusalKind, code: int | str, message: str, http_status: int = 400) -> None:
        super().__init__(f"refused {code}: {message}")
        self.kind = kind
        self.code = code
        self.message = message
        self.http_status = http_status

    @property
    def refusal(self) -> Refusal:
        """For the journal."""
        return Refusal(kind=self.kind, code=str(self.code), message=self.message)


class OutcomeUnknown(ExchangeError):
    """The request may have been executed. With a kind, the exchange said something against it, which is no proof."""

    def __init__(self, why: str, code: int | str | None = None, kind: RefusalKind | None = None) -> None:
        super().__init__(f"outcome unknown: {why}")
        self.why = why
        self.code = code
        self.kind = kind

    @property
    def refusal(self) -> Refusal | None:
        """For the journal: what the exchange said against it, if it said anything."""
        if self.kind is None:
            return None
        return Refusal(kind=self.kind, code="" if self.code is None else str(self.code), message=self.why)


class Unreachable(ExchangeError):
    """The request never left this machine."""
