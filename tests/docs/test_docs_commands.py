"""What the pages show is what happens: commands run, SQL answers, links and names resolve, tables equal the code.

`docs/paper-exchange.md` and `docs/ledger.md` have tests of their own.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
from docs_tables import ROOT

from runner.commands.group import tandem
from storage import ledger

PAGES = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
OWN_TESTS = {"paper-exchange.md", "ledger.md"}
RUN_PAGES = [page for page in PAGES if page.name not in OWN_TESTS]
NO_RUN = "no-run"
EXCHANGE_PORT, CONTROL_PORT = "18080", "8765"
READY_SECONDS = 60.0
ASKING = re.compile(r"tandem (query|health|reconcile|recalibrate|backtest|scan)\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One fenced block and what stands right above it."""

    page: Path
    line: int
    kind: str
    is_run: bool
    text: str
    above: str

    @property
    def place(self) -> str:
        return f"{self.page.name}:{self.line}"

    @property
    def commands(self) -> list[str]:
        """Line by line, without remarks."""
        lines = (re.sub(r"\s+#.*$", "", line).strip() for line in self.text.splitlines())
        return [line for line in lines if line and not line.startswith("#")]


def blocks_of(page: Path) -> Iterator[Block]:
    lines = page.read_text(encoding="utf-8").splitlines()
    start: int | None = None
    for number, line in enumerate(lines):
        if not line.startswith("```"):
            continue
        if start is None:
            start = number
            continue
        kind, _, info = lines[start].removeprefix("```").partition(" ")
        yield Block(
            page=page,
            line=start + 1,
            kind=kind,
            is_run=NO_RUN not in info.split(),
            text="\n".join(lines[start + 1 : number]),
            above=lines[start - 1] if start else "",
        )
        start = None
    assert start is None, f"{page.name}:{(start or 0) + 1}: a fence is never closed"


BLOCKS = [block for page in RUN_PAGES for block in blocks_of(page)]
SHELL = [block for block in BLOCKS if block.kind in {"sh", "console"}]
SQL = [block for block in BLOCKS if block.kind == "sql"]


def place_of(block: Block) -> str:
    return block.place


# What can be told without starting anything.


def test_blocks_are_of_known_kinds() -> None:
    """A block of an unknown kind would be tested by nobody."""
    known = {"sh", "console", "sql", "json", "text", "mermaid", ""}  # Pictures are drawn from tables: docs_tables.py.
    assert [block.place for block in BLOCKS if block.kind not in known] == []


def test_what_is_not_run_says_why() -> None:
    silent = [b.place for b in SHELL if not b.is_run and not re.fullmatch(r"<!-- no-run: \S.{4,} -->", b.above)]
    assert silent == []


def test_every_tandem_command_has_options_that_exist() -> None:
    """Of all shown commands, those that are not run here included: the name is known and the options parse."""
    wrong = []
    for block in SHELL:
        for command in block.commands:
            for part in command.split(" && "):
                words = _words(part)
                if "tandem" not in words:
                    continue
                name, *arguments = words[words.index("tandem") + 1 :]
                try:
                    found = tandem.get_command(click.Context(tandem), name)
                    assert found is not None, f"no command {name}"
                    found.make_context(name, arguments)
                except (click.ClickException, AssertionError) as problem:
                    wrong.append(f"{block.place}: {part}: {problem}")
    assert wrong == []


def _words(command: str) -> list[str]:
    import shlex  # noqa: PLC0415

    return shlex.split(command)


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_every_make_target_exists() -> None:
    shown = {target for page in PAGES for target in re.findall(r"`?\bmake ([a-z]+)`", page.read_text())}
    shown |= {words[1] for b in SHELL for c in b.commands if (words := _words(c))[0] == "make"}
    assert {"up", "test"} <= shown
    for target in sorted(shown):
        subprocess.run(["make", "-n", target], cwd=ROOT, check=True, capture_output=True)


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.kind == "json"], ids=place_of)
def test_json_is_a_configuration_that_loads(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from runner.config import load_settings  # noqa: PLC0415

    monkeypatch.setenv("BINANCE_API_KEY", "a-key-of-nobody")
    monkeypatch.setenv("BINANCE_API_SECRET", "a-secret-of-nobody")
    (tmp_path / "config.json").write_text(block.text)
    load_settings(tmp_path / "config.json")


# Against a running system.


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """A paper exchange and a runner in a folder of their own, and a shell in which `tandem` is this project's."""

    folder: Path
    environment: dict[str, str]
    exchange_port: str
    control_port: str

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        here = script.replace(EXCHANGE_PORT, self.exchange_port).replace(f":{CONTROL_PORT}/", f":{self.control_port}/")
        return subprocess.run(
            ["/bin/sh", "-ec", here],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )


def _until_says(process: subprocess.Popen[str], log: Path, word: str) -> str:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        text = log.read_text() if log.exists() else ""
        if word in text:
            return text
        assert process.poll() is None, text
        time.sleep(0.1)
    raise AssertionError(f"no {word!r} within {READY_SECONDS:g} s: {log.read_text()}")


def _start(folder: Path, environment: dict[str, str], name: str, *arguments: str) -> tuple[subprocess.Popen[str], Path]:
    log = folder / f"{name}.log"
    with log.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "runner", *arguments],
            cwd=folder,
            env=environment,
            stdout=out,
            stderr=subprocess.STDOUT,
            text=True,
        )
    return process, log


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("docs-stack")
    shim = folder / "bin" / "tandem"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m runner "$@"\n')
    shim.chmod(0o755)
    for name in ("config.json", "pairs_config.json"):
        shutil.copy(ROOT / name, folder / name)
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("TANDEM_", "BINANCE_"))}
    environment = {
        **inherited,
        "PATH": f"{shim.parent}{os.pathsep}{inherited['PATH']}",
        "PYTHONPATH": str(ROOT),
        "TANDEM_CONTROL__PORT": "0",
        "TANDEM_RISK__GROSS_NOTIONAL_USD_MAX": "3000",
    }
    exchange, log = _start(folder, environment, "exchange", "exchange", "--port", "0", "--seed", "7")
    processes = [exchange]
    try:
        found = re.search(r"exchange ready: (http://127\.0\.0\.1:(\d+))", _until_says(exchange, log, "exchange ready"))
        assert found is not None
        environment["TANDEM_DATA__REST_URL"] = found[1]
        runner, log = _start(folder, environment, "runner", "run")
        processes.append(runner)
        _until_says(runner, log, " trading ")
        control_port = (folder / "var" / "control.address").read_text().rpartition(":")[2]
        # From here on everybody finds the runner where the pages say it is: at a port that is written down.
        environment["TANDEM_CONTROL__PORT"] = control_port
        yield Stack(folder=folder, environment=environment, exchange_port=found[2], control_port=control_port)
        runner.terminate()
        assert runner.wait(60) == 0, log.read_text()
    finally:
        for process in reversed(processes):
            if process.poll() is None:
                process.terminate()
                process.wait(60)


def _script_of(block: Block, already_run: set[str]) -> str:
    """The block's commands. What asks and was asked before, word for word, is not asked again: it takes seconds."""
    lines = block.text.splitlines()
    if block.kind == "console":
        lines = [line[2:] for line in lines if line.startswith("$ ")]
    wanted = [line for line in lines if line not in already_run]
    already_run.update(line for line in lines if ASKING.match(line))
    return "\n".join(wanted)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_shown_commands_run_and_shown_sql_answers(stack: Stack) -> None:
    """One test, because one running system serves all of it."""
    already_run: set[str] = set()
    wrong = []
    has_curl = shutil.which("curl") is not None
    for block in SHELL:
        if not block.is_run or ("curl " in block.text and not has_curl):
            continue
        script = _script_of(block, already_run)
        done = stack.run(script)
        if done.returncode != 0:
            wrong.append(f"{block.place}:\n{script}\n{done.stdout}{done.stderr}")
    path = stack.folder / "var" / "ledger.duckdb"
    for block in SQL:
        try:
            assert ledger.read(path, block.text).columns
        except Exception as problem:  # noqa: BLE001 - every block is tried, and all that fail are named.
            wrong.append(f"{block.place}: {problem}")
    assert wrong == []


def _anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    dead = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        found = (page.parent / name).resolve() if name else page
        if not found.exists() or (anchor and anchor not in _anchors(found)):
            dead.append(target)
    assert dead == []


def test_no_page_is_orphaned() -> None:
    """Every page can be reached from the README."""
    reached: set[Path] = set()
    ahead: list[Path] = [ROOT / "README.md"]
    while ahead:
        page = ahead.pop()
        if page in reached or page.suffix != ".md":
            continue
        reached.add(page)
        links: Sequence[str] = re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
        ahead += [(page.parent / link).resolve() for link in links if "://" not in link]
    assert [page.name for page in PAGES if page not in reached] == []


def test_no_machine_is_named() -> None:
    names = re.compile(r"(?<!\w)/(work|root|tmp|home)/")
    assert [page.name for page in PAGES if names.search(page.read_text(encoding="utf-8"))] == []


def test_the_pairs_shown_are_configured() -> None:
    """`--only PAIR` and `flatten PAIR` name pairs of the shipped file."""
    configured = {row["pair_id"] for row in json.loads((ROOT / "pairs_config.json").read_text())["pairs"]}
    shown = {w for b in SHELL for w in re.findall(r"(?:--only|flatten) ([A-Z0-9]+_[A-Z0-9]+)", b.text)}
    assert shown
    assert shown <= configured
