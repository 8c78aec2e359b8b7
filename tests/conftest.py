"""One BLAS thread, as the flows have: on matrices as small as these a second one spins for many times what it saves."""

import os

# Read when numpy is first imported: before any test module is.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
