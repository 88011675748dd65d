import pytest


@pytest.mark.slow
def test_the_verified_loop_improves_and_the_unverified_drifts(execute_in_kernel):
    execute_in_kernel(
        "01_quickstart.py",
        "verified[:, -1].mean() < verified[:, 0].mean() < unverified[:, -1].mean() < limited[:, -1].mean()",
        "(verified[:, 0] == unverified[:, 0]).all() and verified.shape == (20, ROUNDS + 1)",
        "(whole[0][1].round, rest[0][1].round) == (0, 6)",
        "verified_pile[:, -1].mean() < min(each[:, -1].mean() for each in (verified, pile, unverified))",
    )
