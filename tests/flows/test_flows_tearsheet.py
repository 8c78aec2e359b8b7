"""The pictures of a recalibration: there, small, the same every time, and honest about what is not drawn."""

import base64
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from calibration_project import evidence_of, row, write_files

import flows.recalibrate.job as work
import flows.recalibrate.tearsheet as sheets
from flows.common.pictures import data_uri, figure, style
from flows.recalibrate.evidence import Evidence
from flows.recalibrate.rules import CalibrationRules
from flows.recalibrate.tearsheet import sheet_of
from runner.config import SignalSettings, load_settings

IMAGE = re.compile(r"!\[([^\]]+)\]\(data:image/(svg\+xml|png);base64,([A-Za-z0-9+/=]+)\)")


def _result(
    folder: Path, monkeypatch: pytest.MonkeyPatch, evidence: Evidence, rows: list[dict[str, object]], **rules: object
) -> work.Recalibration:
    files = write_files(folder, rows)
    monkeypatch.setattr(work, "collect", lambda *_, **__: evidence)
    made = CalibrationRules.model_validate(rules)
    return work.recalibrate(load_settings(files[0]), files[1], made, dry_run=True, run_id="r", say=lambda _: None)


def test_every_pair_of_the_file_is_drawn_and_the_page_is_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [row(0, z_score_threshold=1.5), row(1), row(7)]
    result = _result(tmp_path, monkeypatch, evidence_of(frozenset({1})), rows)
    sheet = sheet_of(result, SignalSettings())
    assert sheet == sheet_of(result, SignalSettings()), "the same run, the same page"
    assert len(sheet) < sheets.SHEET_BYTES_MAX
    images = {name: (kind, base64.b64decode(body)) for name, kind, body in IMAGE.findall(sheet)}
    assert set(images) == {"q-values", "P0: spread and z", "P1: spread and z"}
    for kind, body in images.values():
        if kind == "png":
            assert body.startswith(b"\x89PNG")
        else:
            assert ET.fromstring(body).tag.endswith("svg")  # noqa: S314 - our own.
    assert "**Dry run, nothing written.**" in sheet
    assert "Without numbers of these bars: P7 (not_tested: no bars)" in sheet
    assert "closes only" not in sheet
    assert "## 4 q-values" in sheet


def test_a_page_that_would_be_too_large_says_what_it_leaves_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = _result(tmp_path, monkeypatch, evidence_of(), [row(0), row(1)])
    monkeypatch.setattr(sheets, "SHEET_BYTES_MAX", 80_000)
    sheet = sheet_of(result, SignalSettings())
    assert len(sheet) < 80_000
    assert re.search(r"[12] more pairs are not drawn", sheet)


def test_nothing_to_draw_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = _result(tmp_path, monkeypatch, evidence_of(frozenset(range(4))), [], universe="listed", leg_p_min=0.999)
    sheet = sheet_of(result, SignalSettings())
    assert "Nothing could be ranked." in sheet
    assert "No pair of the file has numbers to draw." in sheet


def test_a_figure_is_the_same_bytes_every_time_and_needs_no_display(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)

    def drawn(kind: str) -> str:
        with style():
            made, (axes,) = figure()
            axes.plot([1, 2, 3])
            return data_uri(made, kind=kind)  # type: ignore[arg-type]

    for kind, media in (("svg", "svg+xml"), ("png", "png")):
        assert drawn(kind) == drawn(kind)
        assert drawn(kind).startswith(f"data:image/{media};base64,")
