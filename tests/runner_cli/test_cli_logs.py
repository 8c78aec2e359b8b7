"""Log lines: one an event, the same as the journal's row, never a secret."""

import io
import json
import logging
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from domain.entries import EventLogged, decode, encode
from domain.events import debug, error, info, warning
from domain.symbols import PairId
from runner import logs
from runner.logs import HIDDEN, LOGGER_NAME, Log, configure_logging, keep_secret, redacted


class StoppedClock:
    def now_ms(self) -> int:
        return 1_000

    def monotonic_ns(self) -> int:
        return 0

    async def sleep(self, seconds: float) -> None:
        del seconds


@pytest.fixture(autouse=True)
def _logger_as_before() -> Iterator[None]:
    logger = logging.getLogger(LOGGER_NAME)
    level, propagate = logger.level, logger.propagate
    yield
    for handler in logger.handlers[:]:
        logger.removeHandler(handler)
        handler.close()
    logger.setLevel(level)
    logger.propagate = propagate


def test_an_event_is_one_line_and_one_row(tmp_path: Path) -> None:
    rows: list[EventLogged] = []
    screen = io.StringIO()
    configure_logging(stream=screen, log_file=tmp_path / "logs" / "run.log")
    log = Log(rows.append, StoppedClock())
    log.emit(
        info("trade_executed", "a trade"),
        pair_id=PairId("A_B"),
        quantity=Decimal("1.50"),
        why="two\nlines",
        z=2.123456789,
    )
    log.emit(debug("wire", "what goes over the wire"), raw=">")
    (line,) = screen.getvalue().splitlines()
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z info +trade_executed pair_id=A_B quantity=1\.50 why='two\\nlines' z=2\.12346",
        line,
    )
    assert (tmp_path / "logs" / "run.log").read_text() == screen.getvalue()
    (row,) = rows
    assert (row.at_ms, row.level, row.event, row.pair_id) == (1_000, "info", "trade_executed", "A_B")
    assert row.facts == {"quantity": "1.50", "why": "two\nlines", "z": 2.123456789}


def test_colours_are_for_terminals_only() -> None:
    plain, coloured = io.StringIO(), io.StringIO()
    configure_logging(stream=plain)
    Log(lambda _: None, StoppedClock()).emit(info("up", "it is up"), pairs=3)
    configure_logging(stream=coloured, colours=True)
    Log(lambda _: None, StoppedClock()).emit(info("up", "it is up"), pairs=3)
    assert "\x1b" not in plain.getvalue()
    assert "\x1b" in coloured.getvalue()
    assert len(coloured.getvalue().splitlines()) == 1


def test_any_fact_can_be_journaled() -> None:
    rows: list[EventLogged] = []
    Log(rows.append, StoppedClock()).emit(
        error("odd", "an odd one", "nothing"), what=ValueError("x"), many={1, 2}, nested={"a": (Decimal(1), object())}
    )
    again = decode(encode(rows[0]))
    assert isinstance(again, EventLogged)
    assert again.facts["what"] == "x"


SECRETS = [
    "the key is key-of-ours-123",
    "GET /fapi/v1/order?symbol=A&signature=0123456789abcdef0123",
    "{'signature': '0123456789abcdef0123'}",
    '{"listenKey":"pqia91ma19a5s61cv6a81va65sdf19v8a65a1"}',
    "X-MBX-APIKEY: vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A",
    "Authorization: Bearer abcdefghijkl",
    "Authorization: Basic YWRtaW46cGFzc3dvcmQx",
    "PREFECT_SERVER_API_AUTH_STRING=admin/pass1",
    "api_key=missing",
]


@pytest.mark.parametrize("text", SECRETS)
def test_a_secret_is_hidden_wherever_it_stands(text: str) -> None:
    keep_secret("key-of-ours-123", None, "")
    rows: list[EventLogged] = []
    screen = io.StringIO()
    configure_logging(stream=screen)
    log = Log(rows.append, StoppedClock())
    log.emit(
        warning("wire", "what goes over the wire", ""), text=text, nested={"deep": [text]}, error=RuntimeError(text)
    )
    try:
        raise RuntimeError(text)  # noqa: TRY301
    except RuntimeError:
        logging.getLogger(LOGGER_NAME).exception("failed: %s", text)
    shown = screen.getvalue() + json.dumps(rows[0].facts)
    secret = re.split(r"[ =:'\"{}]+", text.rstrip("'}\""))[-1]
    assert len(secret) > 6
    assert secret not in shown
    assert HIDDEN in shown


def test_innocent_text_stays() -> None:
    keep_secret("abc")  # Too short to be a secret.
    assert redacted("abc quotes_stale symbol=BTC/USDT:USDT age=3") == "abc quotes_stale symbol=BTC/USDT:USDT age=3"


@pytest.mark.parametrize(
    "text",
    [
        "wrong or missing token; send 'Authorization: Bearer' and the text in /home/x/var/control.token",
        "binance_api_key: cannot be read",
        "listenKey: unreadable reply",
        "signature: refused by the exchange",
    ],
)
def test_a_sentence_about_a_secret_stays_a_sentence(text: str) -> None:
    assert redacted(text) == text


def test_a_secret_that_begins_with_another_is_hidden_whole() -> None:
    keep_secret("planted-1", "planted-1-and-more")
    assert redacted("it is planted-1-and-more, and planted-1") == f"it is {HIDDEN}, and {HIDDEN}"


def test_a_full_log_file_is_put_aside_and_the_oldest_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "LOG_FILE_BYTES_MAX", 500)
    monkeypatch.setattr(logs, "LOG_FILES_KEPT", 2)
    handler = logs.file_handler(tmp_path / "log" / "runner.log")
    for number in range(100):
        handler.handle(logging.makeLogRecord({"name": LOGGER_NAME, "levelname": "INFO", "msg": f"line {number}"}))
    handler.close()
    kept = [tmp_path / "log" / name for name in ("runner.log.2", "runner.log.1", "runner.log")]
    assert sorted((tmp_path / "log").iterdir()) == sorted(kept)
    assert all(path.stat().st_size <= 500 for path in kept)
    told = [int(line.split()[-1]) for path in kept for line in path.read_text().splitlines()]
    assert told == list(range(told[0], 100)), "nothing is missing between them"
