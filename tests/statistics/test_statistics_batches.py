"""A scan cut into batches: nothing is left out, nothing done twice, and the numbers are the same to the last bit."""

import pickle
from collections.abc import Iterable

import numpy as np
import pytest

from domain.statistics.batches import Batch, Piece, cut, solve
from domain.statistics.engle_granger import Method, PairTests, examine_pairs
from domain.statistics.panel import PricePanel
from domain.statistics.status import Fitness

SYMBOLS, BARS = 165, 120
ANYTHING = Fitness(observations_min=40, gap_share_max=0.9, must_be_current=False, bad_print_steps=None)


def mixed_panel() -> PricePanel:
    """Two groups with bars of their own, large enough for matrix products, and three symbols that share theirs with nobody."""
    rng = np.random.default_rng(5)
    prices = np.exp(3 + 0.01 * np.cumsum(rng.normal(size=(BARS, SYMBOLS)), axis=0))
    prices[:30, 140:162] = np.nan
    for column in range(162, SYMBOLS):
        prices[rng.integers(0, BARS, 5), column] = np.nan
    prices[:, 1] = 2 * prices[:, 0] + 1e-7 * rng.normal(size=BARS)  # Nearly collinear: the careful path.
    return PricePanel(symbols=tuple(f"S{n}" for n in range(SYMBOLS)), prices=prices)


@pytest.fixture(scope="module")
def alone() -> PairTests:
    return examine_pairs(mixed_panel(), Method(fitness=ANYTHING))


@pytest.mark.parametrize("count", [2, 7, 50])
def test_however_it_is_cut_the_bits_are_the_same(alone: PairTests, count: int) -> None:
    batches: list[Batch] = []

    def spread(whole: Batch) -> Iterable[Piece]:
        """Over a wire, and back in any order."""
        batches.extend(pickle.loads(pickle.dumps(cut(whole, count))))  # noqa: S301
        pieces = [piece for batch in batches for piece in pickle.loads(pickle.dumps(list(solve(batch))))]  # noqa: S301
        return [pieces[place] for place in np.random.default_rng(count).permutation(len(pieces))]

    told: list[tuple[int, int]] = []
    found = examine_pairs(
        mixed_panel(), Method(fitness=ANYTHING), spread=spread, progress=lambda done, total: told.append((done, total))
    )
    assert 1 < len(batches) <= count
    assert told[-1][0] == told[-1][1] == SYMBOLS * (SYMBOLS - 1) // 2
    for name in PairTests.__dataclass_fields__:
        ours, theirs = getattr(found, name), getattr(alone, name)
        assert np.array_equal(ours, theirs, equal_nan=name not in {"symbols", "status", "bars", "lag", "crossings"}), (
            name
        )


@pytest.mark.parametrize("count", [1, 3, 1000])
def test_batches_are_the_whole_and_about_equal(count: int) -> None:
    seen: list[Batch] = []

    def spread(whole: Batch) -> Iterable[Piece]:
        seen.extend((whole, *cut(whole, count)))
        return solve(whole)

    examine_pairs(mixed_panel(), Method(fitness=ANYTHING), spread=spread)
    whole, *batches = seen
    assert len(batches) <= count

    def strips(batch: Batch) -> list[tuple[bytes, bytes, int]]:
        return [
            (block.left.tobytes(), block.right.tobytes(), begin) for block in batch.blocks for begin in block.begins
        ]

    assert [strip for batch in batches for strip in strips(batch)] == strips(whole)
    assert np.array_equal(np.concatenate([batch.pairs for batch in batches]), whole.pairs)


def test_nothing_to_do_is_nothing() -> None:
    assert examine_pairs(PricePanel(symbols=("A", "B"), prices=np.ones((BARS, 2)))).t_stat.shape == (2, 2)
