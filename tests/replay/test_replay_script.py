"""The procedure of docs/replay.md, on a morning instead of weeks: every step of the script works and the books agree."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "docs" / "replay" / "replay.sh"
KLINES = ROOT.parent / "shared" / "data" / "binance_um_2025_1m_typhonun" / "klines_1m.parquet"


def run(project: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("TANDEM_", "BINANCE_"))}
    environment |= {
        "PYTHONPATH": str(ROOT),
        "PROJECT": str(project),
        "PYTHON": sys.executable,
        "TANDEM": f"{sys.executable} -m runner",
        **variables,
    }
    with subprocess.Popen(
        ["sh", str(SCRIPT), *arguments],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as script:
        try:
            told, complaints = script.communicate(timeout=550)
        except subprocess.TimeoutExpired:
            os.killpg(script.pid, signal.SIGKILL)  # The exchange and the runner that it started, too.
            raise
    return subprocess.CompletedProcess(script.args, script.returncode, told, complaints)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(not KLINES.is_file(), reason=f"real klines are not on this machine ({KLINES.parent.name})")
def test_a_morning_is_replayed_from_calibration_to_backtest(tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.json"  # Given, because the scan of 120 pairs takes longest.
    row = {"pair_id": "SOL_LTC", "leg_a": "SOL/USDT", "leg_b": "LTC/USDT", "hedge_ratio": 0.5}
    pairs.write_text(json.dumps({"pairs": [row]}))
    project = tmp_path / "project"
    done = run(project, "0.1", "1000", PAIRS=str(pairs))
    assert done.returncode == 0, done.stdout + done.stderr
    headings = [line[3] for line in done.stdout.splitlines() if line.startswith("== ")]
    assert headings == ["1", "2", "3", "4", "5"]
    (calibrated,) = json.loads((project / "pairs_config.json").read_text())["pairs"]
    assert calibrated["window"].startswith("2025-05-04T16:00:00Z/2025-05-18T16:00:00Z")
    assert "all agree" in done.stdout
    assert "Final statistics" in (project / "run.log").read_text()
    assert "2025-05-18T12:00:00Z/2025-05-18T18:24:00Z 1m" in done.stdout


def test_without_data_it_says_so_and_starts_nothing(tmp_path: Path) -> None:
    done = run(tmp_path / "project", DATA=str(tmp_path / "none.parquet"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"replay: {tmp_path / 'none.parquet'}: no such file")
    assert not (tmp_path / "project").exists()
