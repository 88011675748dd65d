"""Hypothesis without chance or clocks: the same examples every run, however busy the machine."""

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "veriloop",
    derandomize=True,
    deadline=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("veriloop")

if "PYTEST_XDIST_WORKER" in os.environ:  # tests run side by side, so each of them has one thread
    os.environ.setdefault("OMP_NUM_THREADS", "1")
