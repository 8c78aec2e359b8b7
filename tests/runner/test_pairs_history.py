"""The versions of a pairs file: numbered once, listed, compared, brought back; whatever a person did to the file in between."""

import json
import multiprocessing
from pathlib import Path

import msgspec
import pytest

from domain.errors import ConfigError
from runner.config import SignalSettings
from runner.pairs.file import (
    HISTORY_KEPT,
    PairRow,
    history_folder,
    kept_versions,
    read_document,
    write_document,
)
from runner.pairs.history import PairChange, changes, restore, version_of, versions

AT = "2026-11-25T00:00:00Z"
ROW = PairRow(pair_id="P", leg_a="A/USDT", leg_b="B/USDT", hedge_ratio=1.0)
OTHER = PairRow(pair_id="Q", leg_a="C/USDT", leg_b="D/USDT", hedge_ratio=1.0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pairs_config.json"


def write(path: Path, ratio: float, *more: PairRow) -> int:
    row = msgspec.structs.replace(ROW, hedge_ratio=ratio)
    return write_document(path, [row, *more], generated_at=AT, run_id=f"r{ratio:g}").version or 0


def by_hand(path: Path, ratio: float, **header: object) -> None:
    row = {"pair_id": "P", "leg_a": "A/USDT", "leg_b": "B/USDT", "hedge_ratio": ratio}
    path.write_text(json.dumps({"pairs": [row], **header}))


def ratios(path: Path) -> dict[int, float | None]:
    """Hedge ratio of every version, by its number; None for one that does not read."""
    known = versions(path)
    assert len({version.number for version in known}) == len(known), "a number is never used twice"
    assert [version.is_current for version in known] == [False] * (len(known) - 1) + [True]
    return {one.number: one.document.pairs[0].hedge_ratio if one.document else None for one in known}


def test_every_version_is_listed_and_the_one_that_stands_is_last(path: Path) -> None:
    for ratio in (1.0, 2.0, 3.0):
        write(path, ratio)
    assert ratios(path) == {1: 1.0, 2: 2.0, 3: 3.0}
    assert version_of(path, 2).path.parent == history_folder(path)
    with pytest.raises(ConfigError, match="no version 9; it has 1 to 3"):
        version_of(path, 9)


def test_a_hand_written_file_is_a_version_too(path: Path) -> None:
    by_hand(path, 0.5)
    assert ratios(path) == {0: 0.5}
    write(path, 1.0)
    by_hand(path, 0.7)  # Without the header: which version it is, is nobody's guess.
    assert ratios(path) == {0: 0.5, 1: 0.7}
    assert write(path, 2.0) == 2
    by_hand(path, 0.9, version=1)  # An old file brought back by hand.
    assert write(path, 3.0) == 3
    assert ratios(path) == {0: 0.5, 1: 0.7, 2: 0.9, 3: 3.0}


def test_numbers_only_grow_when_the_file_was_lost_or_damaged(path: Path) -> None:
    write(path, 1.0)
    write(path, 2.0)
    path.write_text("{")
    assert ratios(path) == {1: 1.0, 2: None}
    assert write(path, 3.0) == 3, "what was damaged is kept as it is"
    path.unlink()
    assert [version.number for version in versions(path)] == [1, 2]
    assert write(path, 4.0) == 3
    with pytest.raises(ConfigError, match="no such file"):
        versions(path.with_name("nothing.json"))


def test_a_kill_between_the_two_steps_of_a_write_makes_no_second_version(path: Path) -> None:
    write(path, 1.0)
    write(path, 2.0)
    (history_folder(path) / "000002-until-20261125T000000.json").write_bytes(path.read_bytes())
    assert ratios_without_check(path) == [1, 2, 2]
    assert write(path, 3.0) == 3
    assert ratios(path) == {1: 1.0, 2: 2.0, 3: 3.0}


def ratios_without_check(path: Path) -> list[int]:
    return [version.number for version in versions(path)]


def test_what_is_different_is_told_key_by_key() -> None:
    changed = msgspec.structs.replace(ROW, hedge_ratio=2.0, enabled=False)
    assert changes([ROW], [ROW]) == []
    assert changes([ROW, OTHER], [changed]) == [
        PairChange(pair_id="P", key="hedge_ratio", before=1.0, after=2.0),
        PairChange(pair_id="P", key="enabled", before=True, after=False),
        PairChange(pair_id="Q", key="", before=OTHER, after=None),
    ]
    assert changes([], [ROW]) == [PairChange(pair_id="P", key="", before=None, after=ROW)]


def test_a_version_brought_back_is_a_new_one(path: Path) -> None:
    write(path, 1.0, OTHER)
    write(path, 2.0)
    document = restore(path, 1, SignalSettings(), restored_at=AT)
    assert document is not None
    assert (document.version, document.run_id, document.decided_on) == (3, "restored-version-1", None)
    assert [row.pair_id for row in read_document(path).pairs] == ["P", "Q"]
    assert ratios(path) == {1: 1.0, 2: 2.0, 3: 1.0}
    standing = path.read_bytes()
    assert restore(path, 3, SignalSettings(), restored_at=AT) is None
    assert restore(path, 1, SignalSettings(), restored_at=AT) is None, "these pairs stand already"
    assert path.read_bytes() == standing


def test_a_version_that_would_not_load_is_refused_with_one_line(path: Path) -> None:
    write(path, 1.0)
    write(path, 2.0)
    standing = path.read_bytes()
    _, kept = kept_versions(path)[0]
    kept.write_text(kept.read_text().replace("1.0", "7.0"))
    for number, settings, words in (
        (1, SignalSettings(), "content_sha256 does not match"),
        (9, SignalSettings(), "no version 9"),
    ):
        with pytest.raises(ConfigError, match=words) as caught:
            restore(path, number, settings, restored_at=AT)
        assert "\n" not in str(caught.value)
    strict = msgspec.structs.replace(ROW, z_score_threshold=3.5)
    write_document(path, [strict], generated_at=AT, run_id="strict")
    write(path, 5.0)
    with pytest.raises(ConfigError, match=r"version 3: P: need 0 <= exit_threshold < z_score_threshold < stop_loss_z"):
        restore(path, 3, SignalSettings(stop_loss_threshold=3.0), restored_at=AT)
    assert standing != path.read_bytes() == version_of(path, 4).path.read_bytes()


def test_a_damaged_or_lost_file_is_repaired_by_a_restore(path: Path) -> None:
    write(path, 1.0)
    write(path, 2.0)
    path.write_text("{")
    assert restore(path, 1, SignalSettings(), restored_at=AT) is not None
    assert read_document(path).pairs[0].hedge_ratio == 1.0
    path.unlink()
    assert restore(path, 1, SignalSettings(), restored_at=AT) is not None
    assert read_document(path).pairs[0].hedge_ratio == 1.0


def test_what_must_still_stand(path: Path) -> None:
    write(path, 1.0)
    raw = path.read_bytes()
    write(path, 2.0)
    with pytest.raises(ConfigError, match="was edited meanwhile"):
        write_document(path, [ROW], generated_at=AT, run_id="late", expected=raw)
    assert ratios(path) == {1: 1.0, 2: 2.0}


def _write_some(path: str, start: int) -> None:
    for number in range(10):
        write(Path(path), float(start + number))


def test_two_writers_lose_no_version(path: Path) -> None:
    """Recalibration and restore at the same moment: each version is whole, numbered once, and kept."""
    context = multiprocessing.get_context("spawn")  # A fork ends with 1 once Prefect has run in this process.
    writers = [context.Process(target=_write_some, args=(str(path), start)) for start in (100, 200)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(120)
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert HISTORY_KEPT >= 20
    found = ratios(path)
    assert sorted(found) == list(range(1, 21))
    assert sorted(found.values()) == [float(start + number) for start in (100, 200) for number in range(10)]  # type: ignore[type-var]
