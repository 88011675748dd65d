import pytest


@pytest.mark.slow
def test_a_verifier_holds_what_is_lost_without_one_and_teaches_what_it_knows(execute):
    execute(
        "04_language_model_loop.py",
        "arms['rouge'][0][-1]['rouge1'] > arms['nothing'][0][-1]['rouge1'] + 0.05",
        "arms['rouge'][0][-1]['wording'] > arms['nothing'][0][-1]['wording'] > arms['words'][0][-1]['wording']",
        "all(metrics[0] == at_start.metrics for metrics, _ in arms.values())",
        "found_after['words'] > found_before > found_after['nothing']",
    )
