"""Every pair of a universe tested for cointegration, exactly and at once: `scan(panel)` is the door.

May import numpy, scipy and numba, which the rest of the domain may not. The live process never imports this package.
"""
