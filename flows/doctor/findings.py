"""One line of the doctor's page."""

from dataclasses import dataclass
from enum import StrEnum


class Grade(StrEnum):
    """From good to bad."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was looked at, what was found, and what to do unless it is well."""

    grade: Grade
    what: str
    detail: str
    remedy: str = ""


def ok(what: str, detail: str) -> Finding:
    return Finding(grade=Grade.OK, what=what, detail=detail)


def warn(what: str, detail: str, remedy: str) -> Finding:
    return Finding(grade=Grade.WARN, what=what, detail=detail, remedy=remedy)


def fail(what: str, detail: str, remedy: str) -> Finding:
    return Finding(grade=Grade.FAIL, what=what, detail=detail, remedy=remedy)
