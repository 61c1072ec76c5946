"""Measurements. Everything in a table was measured in turn in one run, so compare its ratios."""

import os

# One core: what is compared are algorithms. Before numpy is imported.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
