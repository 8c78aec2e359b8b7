"""`tandem config`: what it prints and its exit codes, as the installed command."""

import json
from pathlib import Path

import pytest
from calibration_project import row, write_files
from click.testing import CliRunner, Result

from flows.config.cli import config
from runner.__main__ import exit_code_of
from runner.pairs.file import parse_document, read_document, write_document


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    files = write_files(tmp_path, [row(0), row(1)])
    rows = read_document(files[1]).pairs
    write_document(files[1], rows[:1], generated_at="2026-11-25T00:00:00Z", run_id="r1")
    return files


def _tandem(files: tuple[Path, Path], *arguments: str) -> Result:
    return CliRunner().invoke(config, [*arguments, "--config", str(files[0]), "--pairs", str(files[1])])


def test_history_lists_every_version(files: tuple[Path, Path]) -> None:
    answer = json.loads(_tandem(files, "history", "--json").stdout)
    assert [(line["version"], line["stands"], line["by"], line["pairs"]) for line in answer["rows"]] == [
        (0, "", "by hand", 2),
        (1, "now", "r1", 1),
    ]
    assert "1 previous versions" in _tandem(files, "history").stdout


@pytest.mark.parametrize(
    ("versions", "summary"),
    [
        ([], "version 0 to 1: 1 pairs differ"),
        (["0"], "version 0 to 1: 1 pairs differ"),
        (["1", "0"], "version 1 to 0: 1 pairs differ"),
        (["1"], "version 1 to 1: no difference"),
    ],
)
def test_diff_says_what_changed(files: tuple[Path, Path], versions: list[str], summary: str) -> None:
    answer = json.loads(_tandem(files, "diff", *versions, "--json").stdout)
    assert answer["summary"] == summary
    for line in answer["rows"]:
        whole = line["before"] or line["after"]
        assert (line["pair"], line["key"]) == ("P1", "")
        assert parse_document(b'{"pairs": [' + whole.encode() + b"]}", where="it").pairs[0].pair_id == "P1"


def test_restore_writes_a_new_version_and_says_so(files: tuple[Path, Path]) -> None:
    result = _tandem(files, "restore", "0")
    assert result.exit_code == 0, result.output
    assert "is now version 2, with the pairs of version 0" in result.stderr
    assert len(read_document(files[1]).pairs) == 2
    again = _tandem(files, "restore", "0")
    assert again.exit_code == 0
    assert "nothing was written" in again.stderr
    assert read_document(files[1]).version == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["restore", "7"], "tandem config restore: "),
        (["restore", "7"], "no version 7; it has 0 to 1"),
        (["diff", "7"], "no version 7"),
        (["restore", "x"], "not a valid integer"),
    ],
)
def test_bad_usage_is_code_2(
    files: tuple[Path, Path], capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    with pytest.raises(SystemExit) as left:
        raise SystemExit(exit_code_of(["config", *arguments, "--config", str(files[0]), "--pairs", str(files[1])]))
    assert left.value.code == 2
    assert words in capsys.readouterr().err


def test_a_first_version_has_nothing_to_be_compared_with(tmp_path: Path) -> None:
    files = write_files(tmp_path, [row(0)])
    result = _tandem(files, "diff")
    assert result.exit_code == 2
    assert "no previous version yet" in result.stderr


def test_a_folder_among_the_versions_is_none(files: tuple[Path, Path]) -> None:
    (files[1].with_name(files[1].name + ".history") / "000009-until-x.json").mkdir()
    assert "1 previous versions" in _tandem(files, "history").stdout
    assert "is now version 2" in _tandem(files, "restore", "0").stderr


def test_a_version_below_nothing_is_kept_like_any_other(tmp_path: Path) -> None:
    """A person wrote it; as a name it would sort before all, and not be found again."""
    files = write_files(tmp_path, [row(0), row(1)])
    document = json.loads(files[1].read_text())
    files[1].write_text(json.dumps({**document, "version": -5}))
    rows = read_document(files[1]).pairs
    assert write_document(files[1], rows[:1], generated_at="2026-11-25T00:00:00Z", run_id="r1").version == 1
    assert "is now version 2, with the pairs of version 0" in _tandem(files, "restore", "0").stderr


def test_a_full_disk_changes_nothing_and_is_one_line(files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    before = files[1].read_bytes()

    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    result = _tandem(files, "restore", "0")
    assert result.exit_code == 2, result.output
    assert "cannot be written (No space left on device), and stays as it was" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert files[1].read_bytes() == before
