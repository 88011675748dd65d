import pytest


@pytest.mark.slow
def test_verified_images_end_closer_to_real_ones(execute):
    execute(
        "03_mnist_loop.py",
        "verified[-1]['mnist_fid'] < unverified[-1]['mnist_fid']",
        "verified[0] == unverified[0] == own[0] and len(verified) == rounds + 1",
        "verified[-1]['nelbo'] < unverified[-1]['nelbo']",
    )
