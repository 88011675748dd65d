import pytest


@pytest.mark.slow
def test_a_verifier_helps_or_harms_by_its_bias(execute):
    execute(
        "02_linear_theory.py",
        "ends['unbiased'] < unverified[0] < ends['mildly biased'] < unverified[-1] < ends['strongly biased']",
    )
