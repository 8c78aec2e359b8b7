"""The machinery of `make mutants`: the table fits the sources, the page fits the table, and a few mutants die here."""

from pathlib import Path

import pytest
from mutants import ROOT, Mutant, all_mutants
from mutate import BEGIN, END, PAGE, Copies, judge, page_rows

MUTANTS = all_mutants()
FAST = ("guard: QUOTE_STALE", "life of an order: unknown, filled", "closing legs: working, held")


def test_every_place_is_still_there_and_every_name_is_one() -> None:
    for mutant in MUTANTS:
        text = (ROOT / mutant.file).read_text()
        assert mutant.applied(text) != text
        assert all((ROOT / test.split()[0]).exists() for test in mutant.tests)
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)


def test_a_place_that_is_gone_is_said() -> None:
    gone = Mutant(name="gone", group="g", file="domain/legs.py", old="not in there", new="", tests=())
    with pytest.raises(ValueError, match="correct the table"):
        gone.applied("something else")


def test_the_page_lists_what_is_taken_out() -> None:
    text = PAGE.read_text()
    listed = text[text.index(BEGIN) + len(BEGIN) : text.index(END)].strip()
    assert listed == page_rows(MUTANTS), "run python tests/mutation/mutate.py --write"


@pytest.mark.slow
def test_some_die_here(tmp_path: Path) -> None:
    chosen = [mutant for mutant in MUTANTS if mutant.name in FAST]
    assert len(chosen) == len(FAST)
    with Copies(tmp_path, 1) as copies:
        for mutant in chosen:
            assert judge(mutant, copies).killed_by, mutant.name


@pytest.mark.slow
def test_a_change_that_changes_nothing_survives(tmp_path: Path) -> None:
    harmless = Mutant(
        name="harmless",
        group="g",
        file="domain/legs.py",
        old="",
        new="HARMLESS = 1",
        tests=("tests/domain/test_legs.py",),
    )
    with Copies(tmp_path, 1) as copies:
        verdict = judge(harmless, copies)
    assert (verdict.killed_by, verdict.broken) == ("", "")
