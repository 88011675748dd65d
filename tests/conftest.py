"""Hypothesis without chance or clocks: the same examples every run, however busy the machine."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "veriloop",
    derandomize=True,
    deadline=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("veriloop")
