"""Hypothesis without chance or clocks: the same examples every run, however busy the machine."""

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "veriloop",
    derandomize=True,
    deadline=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("veriloop")

# One thread a test, set before torch is imported. Tests run side by side, and threads that wait
# for one another on a busy machine cost seven times as much as they save.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
