"""`python -m domain.statistics.warm`: compile the kernel now, so that nobody waits for it later; what is kept is not made again."""

import numpy as np

from domain.statistics.engle_granger import Method
from domain.statistics.scan import ScanOptions, scan
from domain.statistics.status import Fitness
from domain.statistics.surrogates import independent_walks


def main() -> None:
    """A scan of each kind: many symbols on the same bars, and a pair by itself."""
    options = ScanOptions(method=Method(fitness=Fitness(leg_p_min=0.05)))
    for symbols in (12, 2):
        scan(independent_walks(np.random.default_rng(0), symbols=symbols, bars=400), options)


if __name__ == "__main__":
    main()
