"""One line per event on the terminal, the same as a row in the journal; no secret in either. The events: `runner.events`.

Everything of ours goes to the standard logger `runner`, which Prefect forwards when told to. Without `configure_logging` the
lines go wherever the host's logging sends them.
"""

import fcntl
import logging
import os
import re
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, TextIO

import structlog

from domain.entries import EventLogged
from domain.events import Event, Severity
from domain.symbols import PairId, TradeId
from domain.text import printable
from runner.ports import Clock
from storage.files import open_own

LOGGER_NAME = "runner"
HIDDEN = "[hidden]"
LOG_FILE_BYTES_MAX = 20 * 2**20
LOG_FILES_KEPT = 5
"""Full files beside the present one; the journal has all of it anyway."""
SECRET_LENGTH_MIN = 6  # Shorter values would blank out innocent text.
LEVELS: Mapping[str, int] = logging.getLevelNamesMapping()

Note = Callable[[EventLogged], None]

_secrets: set[str] = set()
# A parameter in a URL or in a fact (`name=value`), a field in JSON (`"name": "value"`), a header (`Name: value`).
_SECRET_PARAMETER = re.compile(
    r"(?i)(signature|listenkey|api_?key|api_?secret|x-mbx-apikey|authorization|auth_string|password)"
    r"(['\"]?\s*(?:=|:)\s*['\"]?)((?:bearer|basic)\s+)?([\w+/%.=-]{6,})"
)
_ORDINARY_WORD = re.compile(r"[A-Za-z][a-z]{5,14}")
"""No key, token or signature looks like one: they are long, and mixed."""


def keep_secret(*values: str | None) -> None:
    """From now on these values are replaced wherever they would be logged."""
    _secrets.update(value for value in values if value and len(value) >= SECRET_LENGTH_MIN)


def redacted(text: str) -> str:
    """The text without known secrets, and without values of parameters that are secret by name."""
    for secret in sorted(_secrets, key=len, reverse=True):  # One may be the beginning of another.
        text = text.replace(secret, HIDDEN)
    return _SECRET_PARAMETER.sub(_hidden, text)


def _hidden(found: re.Match[str]) -> str:
    """The parameter without its value. A sentence such as `api_key: cannot be read` stays as it is."""
    name, separator, scheme, value = found.groups()
    if separator.strip() == ":" and scheme is None and _ORDINARY_WORD.fullmatch(value):
        return found[0]
    return f"{name}{separator}{HIDDEN}"


def plain(fact: object) -> Any:
    """A fact as JSON can hold it, without secrets."""
    if fact is None or isinstance(fact, bool | int | float):
        return fact
    if isinstance(fact, str):
        return redacted(str(fact))
    if isinstance(fact, Decimal):
        return format(fact, "f")
    if isinstance(fact, Mapping):
        return {redacted(str(key)): plain(value) for key, value in fact.items()}
    if isinstance(fact, list | tuple | set | frozenset):
        return [plain(value) for value in fact]
    return redacted(str(fact))


class Log:
    """Emits events with their facts: to people and, from severity info on, to the journal."""

    def __init__(self, note: Note, clock: Clock) -> None:
        keep_secret(os.environ.get("BINANCE_API_KEY"), os.environ.get("BINANCE_API_SECRET"))
        self._note = note
        self._clock = clock

    def emit(
        self, event: Event, *, pair_id: PairId | None = None, trade_id: TradeId | None = None, **facts: object
    ) -> None:
        shown = {name: plain(value) for name, value in facts.items()}
        if event.severity is not Severity.DEBUG:
            self._note(
                EventLogged(
                    at_ms=self._clock.now_ms(),
                    level=event.severity.value,
                    event=event.name,
                    pair_id=pair_id,
                    trade_id=trade_id,
                    facts=shown,
                )
            )
        who = {"pair_id": pair_id, "trade_id": trade_id}
        _write_line(event, {name: value for name, value in who.items() if value is not None} | shown)


def emit_line(event: Event, *, exception: BaseException | None = None, **facts: object) -> None:
    """An event of what has no journal: to people only, with the traceback of the exception."""
    _write_line(event, {name: plain(value) for name, value in facts.items()}, exception)


def _write_line(event: Event, facts: Mapping[str, Any], exception: BaseException | None = None) -> None:
    logger, level = logging.getLogger(LOGGER_NAME), LEVELS[event.severity.upper()]
    if logger.isEnabledFor(level):
        text = " ".join(f"{name}={_brief(value)}" for name, value in facts.items())
        logger.log(
            level,
            "%s",
            f"{event.name} {text}".rstrip(),
            exc_info=exception,
            extra={"event": event.name, "facts": facts},
        )


def _brief(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    text = value if isinstance(value, str) else repr(value)
    return repr(text) if not text or any(c.isspace() or not c.isprintable() for c in text) else text


class LineFormatter(logging.Formatter):
    """One line: UTC time to the millisecond, level, event, facts. Redacts the whole of it, whoever wrote it."""

    def __init__(self, *, colours: bool) -> None:
        super().__init__()
        self._render = structlog.dev.ConsoleRenderer(
            colors=colours, pad_event_to=24, repr_native_str=False, sort_keys=False, pad_level=False
        )
        self._colours = colours

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"
        facts: Mapping[str, Any] | None = getattr(record, "facts", None)
        if self._colours and facts is not None:
            shown = {name: _brief(value) for name, value in facts.items()}
            event = {"timestamp": at, "level": record.levelname.lower(), "event": record.__dict__["event"], **shown}
            line = str(self._render(None, "", event))
        else:
            line = f"{at} {record.levelname.lower():<8} {printable(record.getMessage())}"
        if record.exc_info:  # With what an exchange, or a file, said.
            line = f"{line}\n{printable(self.formatException(record.exc_info))}"
        return redacted(line)


class _OwnFileHandler(RotatingFileHandler):
    """Writes into no file that somebody laid a link to, waits for nobody at a pipe, and leaves it to this user alone."""

    def _open(self) -> TextIOWrapper:
        descriptor = open_own(Path(self.baseFilename), only_name=True)
        fcntl.fcntl(descriptor, fcntl.F_SETFL, os.O_APPEND)  # Two writers do not write over each other.
        return os.fdopen(descriptor, "a", encoding=self.encoding)


def file_handler(log_file: Path) -> logging.Handler:
    """A plain copy of the lines; a file that is full becomes `….1` and so on, and the oldest goes.

    Raises: FileRefused for a link, a pipe or another user's, OSError when the file cannot be opened.
    """
    log_file.parent.mkdir(parents=True, exist_ok=True)
    handler = _OwnFileHandler(log_file, maxBytes=LOG_FILE_BYTES_MAX, backupCount=LOG_FILES_KEPT, encoding="utf-8")
    handler.setFormatter(LineFormatter(colours=False))
    return handler


def configure_logging(
    *, stream: TextIO | None = None, log_file: Path | None = None, level: str = "info", colours: bool | None = None
) -> None:
    """Send our lines to a terminal (default: stderr; colours only on a TTY) and, plain, to a file.

    Raises: OSError when the file cannot be opened.
    """
    stream = sys.stderr if stream is None else stream
    if colours is None:
        colours = stream.isatty() and "NO_COLOR" not in os.environ
    handlers: list[logging.Handler] = [logging.StreamHandler(stream)]
    handlers[0].setFormatter(LineFormatter(colours=colours))
    if log_file is not None:
        handlers.append(file_handler(log_file))
    logger = logging.getLogger(LOGGER_NAME)
    for old in logger.handlers[:]:
        logger.removeHandler(old)
        old.close()
    for handler in handlers:
        logger.addHandler(handler)
    logger.setLevel(level.upper())
    logger.propagate = False
