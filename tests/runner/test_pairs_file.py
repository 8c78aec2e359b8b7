"""`pairs_config.json`: what is wrong is named, what is written is whole, what was there before is kept."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.errors import ConfigError
from runner.config import SignalSettings
from runner.pairs.file import (
    HISTORY_KEPT,
    PairRow,
    history_folder,
    load_pairs,
    parse_document,
    read_document,
    sha256_of,
    write_document,
)

ROOT = Path(__file__).parent.parent.parent
SEVEN: dict[str, Any] = {
    "pair_id": "CAT_DOGE", "leg_a": "1000CAT/USDT", "leg_b": "1MBABYDOGE/USDT", "hedge_ratio": 0.1, "z_score_threshold": 2.0,
    "exit_threshold": 0.0, "half_life_candles": 12,
}  # fmt: skip
OTHER = {"pair_id": "BTC_ETH", "leg_a": "BTC/USDT", "leg_b": "ETH/USDT", "hedge_ratio": 0.03}


def written(folder: Path, content: Any) -> Path:
    path = folder / "pairs_config.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def one(**changed: Any) -> dict[str, Any]:
    return {"pairs": [{name: value for name, value in (SEVEN | changed).items() if value != "absent"}]}


def test_seven_keys_suffice(tmp_path: Path) -> None:
    (pair,) = load_pairs(written(tmp_path, one()), SignalSettings(bar_seconds=300))
    assert (pair.pair_id, pair.leg_a, pair.leg_b) == ("CAT_DOGE", "1000CAT/USDT:USDT", "1MBABYDOGE/USDT:USDT")
    assert (pair.hedge_ratio, pair.entry_z, pair.exit_z, pair.stop_z) == (0.1, 2.0, 0.0, 4.0)
    assert (pair.half_life_bars, pair.half_life_bar_seconds, pair.enabled) == (12.0, 300, True)


@pytest.mark.parametrize(
    ("keys", "bar_seconds", "half_life_bar_seconds"),
    [
        ({}, None, 60),
        ({"bar_seconds": 300}, 300, 300),
        ({"bar_seconds": 300, "candle_seconds": 3600}, 300, 3600),
    ],
)
def test_a_pair_may_have_bars_of_a_size_of_its_own(
    tmp_path: Path, keys: dict[str, int], bar_seconds: int | None, half_life_bar_seconds: int
) -> None:
    """The half-life is in candles of its calibration; where none is named, in the pair's own bars."""
    (pair,) = load_pairs(written(tmp_path, one(**keys)), SignalSettings())
    assert (pair.bar_seconds, pair.half_life_bar_seconds) == (bar_seconds, half_life_bar_seconds)


def test_a_pair_goes_before_the_defaults(tmp_path: Path) -> None:
    path = written(tmp_path, one(stop_loss_z=9.5, candle_seconds=3600, z_score_threshold="absent", enabled=False))
    (pair,) = load_pairs(path, SignalSettings(entry_threshold=3.0))
    assert (pair.entry_z, pair.stop_z, pair.half_life_bar_seconds, pair.enabled) == (3.0, 9.5, 3600, False)


# content -> words that must be in the line
BAD: list[tuple[Any, list[str]]] = [
    ("", ["not valid JSON", "history"]),
    ("{", ["not valid JSON"]),
    ('{"pairs": [}', ["not valid JSON"]),
    ('{"pairs": []} x', ["not valid JSON"]),
    ('{"pairs": [{"hedge_ratio": NaN}]}', ["not valid JSON"]),
    ("[]", ["object"]),
    ("{}", ["pairs"]),
    ({"pairs": {}}, ["array", "pairs"]),
    ({"pairs": [], "pears": 1}, ["unknown key pears", "did you mean pairs?", "remove or correct"]),
    (one(hedgeratio=1), ["unknown key hedgeratio", "did you mean hedge_ratio?", "pairs[0]"]),
    (one(leg_a="absent"), ["leg_a"]),
    (one(hedge_ratio="absent"), ["hedge_ratio"]),
    (one(hedge_ratio="0.1"), ["float", "hedge_ratio"]),
    (one(hedge_ratio=None), ["float", "hedge_ratio"]),
    (one(hedge_ratio=0), ["CAT_DOGE", "hedge_ratio", "above 0"]),
    (one(hedge_ratio=-0.5), ["CAT_DOGE", "hedge_ratio", "above 0"]),
    (json.dumps(one(hedge_ratio=0)).replace('"hedge_ratio": 0', '"hedge_ratio": 1e400'), ["hedge_ratio"]),
    (one(leg_b="1000CAT/USDT"), ["CAT_DOGE", "same symbol"]),
    (one(leg_b="1000CAT/USDT:USDT"), ["CAT_DOGE", "same symbol"]),
    (one(leg_a="1000CATUSDT"), ["CAT_DOGE", "BASE/USDT"]),
    (one(leg_a="BTC/USDT:USDT-261225"), ["CAT_DOGE", "BASE/USDT"]),
    (one(leg_a=5), ["leg_a"]),
    (one(exit_threshold=2.0), ["CAT_DOGE", "exit_threshold < z_score_threshold < stop_loss_z"]),
    (one(z_score_threshold=4.0), ["CAT_DOGE", "z_score_threshold < stop_loss_z"]),
    (one(exit_threshold=-0.1), ["CAT_DOGE", "0 <= exit_threshold"]),
    (one(half_life_candles=0), ["CAT_DOGE", "half_life_candles"]),
    (one(half_life_candles=-3), ["CAT_DOGE", "half_life_candles"]),
    (one(candle_seconds=0), ["CAT_DOGE", "candle_seconds"]),
    (one(candle_seconds=-60), ["CAT_DOGE", "candle_seconds"]),
    (one(bar_seconds=61), ["CAT_DOGE", "bar_seconds must be one of 60, 180, 300", "not 61"]),
    (one(bar_seconds=0), ["CAT_DOGE", "bar_seconds", "not 0"]),
    (one(bar_seconds="5m"), ["int", "bar_seconds"]),
    (one(pair_id=""), ["pair_id"]),
    (one(pair_id="a b"), ["pair_id", "letters"]),
    (one(pair_id="a\n"), ["pair_id", "letters"]),
    (one(pair_id="../x"), ["pair_id", "letters"]),
    (one(pair_id="x" * 65), ["pair_id", "64"]),
    (one(enabled="no"), ["enabled"]),
    ({"pairs": [SEVEN, OTHER | {"pair_id": "CAT_DOGE"}]}, ["CAT_DOGE", "occurs twice"]),
    ({"pairs": [SEVEN, SEVEN | {"pair_id": "AGAIN"}]}, ["AGAIN", "same two legs as CAT_DOGE"]),
    ({"pairs": [SEVEN, SEVEN | {"pair_id": "AGAIN", "leg_a": SEVEN["leg_b"], "leg_b": SEVEN["leg_a"]}]}, ["AGAIN", "same two legs"]),
    ({"pairs": [SEVEN], "content_sha256": "0" * 64}, ["content_sha256", "remove that line"]),
]  # fmt: skip


@pytest.mark.parametrize(("content", "words"), BAD, ids=lambda value: str(value)[:60])
def test_a_bad_file_is_one_clear_line(tmp_path: Path, content: Any, words: list[str]) -> None:
    path = written(tmp_path, content)
    with pytest.raises(ConfigError) as caught:
        load_pairs(path, SignalSettings())
    text = str(caught.value)
    assert "\n" not in text
    assert str(path) in text
    for word in words:
        assert word in text


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "pairs_config.json"
    path.write_bytes(b'{"pairs": [{"pair_id": "\xff\xfe"}]}')
    with pytest.raises(ConfigError, match="not valid"):
        read_document(path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load_pairs(tmp_path / "pairs_config.json", SignalSettings())


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file(tmp_path: Path) -> None:
    path = written(tmp_path, one())
    path.chmod(0)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_pairs(path, SignalSettings())


# Writing


def rows(ratio: float = 0.1) -> list[PairRow]:
    return [PairRow(pair_id="CAT_DOGE", leg_a="1000CAT/USDT", leg_b="1MBABYDOGE/USDT", hedge_ratio=ratio)]


def test_what_is_written_loads_again_with_header_and_history(tmp_path: Path) -> None:
    path = written(tmp_path, one())
    before = path.read_bytes()
    document = write_document(path, rows(0.2), generated_at="2026-11-22T10:00:00Z", run_id="r1")
    assert read_document(path) == document
    assert (document.version, document.run_id, document.content_sha256) == (1, "r1", sha256_of(rows(0.2)))
    assert load_pairs(path, SignalSettings())[0].hedge_ratio == 0.2
    assert [kept.read_bytes() for kept in history_folder(path).iterdir()] == [before]
    assert write_document(path, rows(0.3), generated_at="2026-11-22T11:00:00Z", run_id="r2").version == 2
    assert len(list(history_folder(path).iterdir())) == 2
    assert not [name for name in tmp_path.iterdir() if name.suffix == ".tmp"]


def test_the_first_file_needs_no_predecessor(tmp_path: Path) -> None:
    path = tmp_path / "pairs_config.json"
    assert write_document(path, rows(), generated_at="2026-11-22T10:00:00Z", run_id="r").version == 1
    assert not history_folder(path).exists()


def test_history_is_bounded_and_keeps_the_newest(tmp_path: Path) -> None:
    path = tmp_path / "pairs_config.json"
    for number in range(HISTORY_KEPT + 6):
        write_document(path, rows(1 + number), generated_at=f"2026-11-22T10:00:{number:02d}Z", run_id="r")
    kept = sorted(history_folder(path).iterdir())
    assert len(kept) == HISTORY_KEPT
    assert read_document(kept[-1]).pairs[0].hedge_ratio == HISTORY_KEPT + 5


@pytest.mark.parametrize(
    "bad", [rows(0.0), rows(math.inf), rows(math.nan), [*rows(), *rows()]], ids=["zero", "inf", "nan", "twice"]
)
def test_what_would_not_load_is_not_written(tmp_path: Path, bad: list[PairRow]) -> None:
    path = written(tmp_path, one())
    before = path.read_bytes()
    with pytest.raises(ConfigError):
        write_document(path, bad, generated_at="2026-11-22T10:00:00Z", run_id="r")
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from runner.pairs.file import PairRow, write_document
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
rows = [PairRow(pair_id=f"P{n}", leg_a=f"A{n}/USDT", leg_b=f"B{n}/USDT", hedge_ratio=1.0) for n in range(200)]
try:
    write_document(Path(sys.argv[1]), rows, generated_at="2026-11-22T10:00:00Z", run_id="r")
except OSError as error:
    sys.exit(3)
"""


@pytest.mark.parametrize("bytes_max", [0, 100, 5_000])
def test_a_full_disk_leaves_the_old_file_whole(tmp_path: Path, bytes_max: int) -> None:
    """The system itself refuses further bytes, in the middle of the history or of the file."""
    path = written(tmp_path, one())
    before = path.read_bytes()
    done = subprocess.run([sys.executable, "-c", FULL_DISK, str(path), str(bytes_max)], cwd=ROOT, check=False)
    assert done.returncode == 3
    assert path.read_bytes() == before
    assert load_pairs(path, SignalSettings())
    assert not [name for name in tmp_path.iterdir() if name.suffix == ".tmp"]


FINITE = st.floats(1e-6, 1e6)
ROWS = st.lists(
    st.builds(
        PairRow,
        pair_id=st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z"),
        leg_a=st.just("A/USDT"),
        leg_b=st.just("B/USDT"),
        hedge_ratio=FINITE,
        half_life_candles=st.none() | FINITE,
        candle_seconds=st.none() | st.integers(1, 86_400),
        intercept=st.none() | st.floats(-1e6, 1e6),
        p_value=st.none() | st.floats(0, 1),
        reason=st.none() | st.text(st.characters(codec="utf-8"), max_size=20),
        enabled=st.booleans(),
    ),
    max_size=5,
    unique_by=lambda row: row.pair_id,
).map(
    lambda drawn: [msgspec.structs.replace(row, leg_a=f"A{n}/USDT", leg_b=f"B{n}/USDT") for n, row in enumerate(drawn)]
)


@settings(deadline=None, max_examples=50)
@given(ROWS)
def test_rows_come_back_as_they_were(tmp_path_factory: pytest.TempPathFactory, drawn: list[PairRow]) -> None:
    path = tmp_path_factory.mktemp("pairs") / "pairs_config.json"
    write_document(path, drawn, generated_at="2026-11-22T10:00:00Z", run_id="r")
    document = parse_document(path.read_bytes(), where="it")
    assert list(document.pairs) == drawn
    assert document.content_sha256 == sha256_of(drawn)
