import pytest


@pytest.mark.slow
def test_a_verifier_teaches_what_it_knows(execute):
    execute(
        "05_write_your_own_verifier.py",
        "errors['rule'][:, -1].mean() > errors['unverified'][:, -1].mean() > errors['judge'][:, -1].mean()",
        "all((each[:, 0] == errors['unverified'][:, 0]).all() for each in errors.values())",
        "min(read['classifier'].mean(), read['judge'].mean()) > read['unverified'].mean()",
    )
