"""Prefect flows, a folder a feature. May import runner, storage and domain."""

import os

# The matrices of a test are tiny: on two cores a second BLAS thread makes it up to ten times slower, and takes the live
# runner's core. Read when numpy is first imported, which is later than this.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
