import pytest


@pytest.mark.slow
def test_a_task_of_ones_own_is_learnt_with_a_verifier_of_ones_own(execute):
    execute(
        "06_your_own_task.py",
        "len(rows) == 300 and not SMOLLM2",
        "all(each[0] == found['verified'][0] for each in found.values())",
        "found['verified'][-1]['right'] > found['unverified'][-1]['right']",
        "found['verified'][-1]['right'] > found['verified'][0]['right']",
    )
