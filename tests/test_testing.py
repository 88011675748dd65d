"""The contract checks fail, by the rule's name, on components that break it; and pass on ones that do not."""

from copy import deepcopy
from dataclasses import dataclass, replace

import numpy as np
import pytest

from veriloop import (
    Accumulate,
    Columns,
    Key,
    Loop,
    Quota,
    Shifted,
    State,
    Threshold,
    TopCount,
    TopFraction,
    Verdict,
)
from veriloop.testing import check_backend, check_filter, check_verifier

BATCH = np.array([0.3, -1.2, 2.0, 0.7, -0.4, 1.1])


def z_score(key, batch):
    """Score by the distance from the batch's own mean: not a score of a row."""
    return (batch - batch.mean()) / batch.std()


def rank(key, batch):
    return np.argsort(np.argsort(batch)).astype(float)


class Counter:
    """Remember earlier calls."""

    def __init__(self):
        self.calls = 0

    def __call__(self, key, batch):
        self.calls += 1
        return batch + self.calls


@pytest.mark.parametrize(
    "verify, message",
    [
        (rank, "a score depends on other rows"),
        (z_score, "a score depends on other rows"),
        (lambda key, batch: batch * (1 + 0.1 * np.arange(len(batch))), "a score depends on"),
        (lambda key, batch: batch - batch[len(batch) // 3], "a score depends on"),
        (
            lambda key, batch: batch[:, None],
            r"expected one score a row, shape \(6,\), got \(6, 1\)",
        ),
        (lambda key, batch: batch[1:], r"shape \(6,\), got \(5,\)"),
        (lambda key, batch: 1.0, r"shape \(6,\), got \(\)"),
        (lambda key, batch: np.where(batch > 1, np.inf, batch), "a score is infinite; return NaN"),
        (lambda key, batch: np.where(batch > 1, -np.inf, batch), "a score is infinite; return NaN"),
        (lambda key, batch: key.numpy().random(len(batch)), "the key changes the scores"),
        (Counter(), "same key, other scores"),
        (lambda key, batch: np.random.default_rng().random(len(batch)), "same key, other scores"),
        (lambda key, batch: batch.astype(str), "lambda must return numbers, got dtype <U"),
        (lambda key, batch: batch.astype(complex), "lambda must return numbers, got dtype complex"),
        (lambda key, batch: [[1.0]] * 6, r"lambda must return numbers, got list \[1.0\] in row 0"),
        (
            lambda key, batch: (batch > 0).astype(int),
            "the scores are 0 and 1 alone, and a score of 0 accepts",
        ),
        (
            lambda key, batch: batch > 0,
            "lambda returned booleans, of which False would count as the score 0, which accepts",
        ),
        (lambda key, batch: Verdict(z_score(key, batch)), "a score depends on other rows"),
        (
            lambda key, batch: Verdict(batch, {"size": batch[1:]}),
            r"one score a row, shape \(6,\), got \(5,\), of part 'size'",
        ),
        (
            lambda key, batch: Verdict(batch, {"size": batch.astype(str)}),
            "part 'size' must return numbers, got dtype <U32",
        ),
        (
            lambda key, batch: Verdict(batch, oracle=batch * np.inf),
            "a score is infinite, of the oracle",
        ),
        (
            lambda key, batch: Verdict(batch, {"size": batch}, oracles={"size": batch > 0}),
            "oracle of part 'size' returned booleans",
        ),
    ],
)
def test_bad_verifiers_are_found(verify, message):
    with pytest.raises(AssertionError, match=message):
        check_verifier(verify, BATCH)


def test_a_verifier_that_changes_its_batch_is_found():
    """Even where its scores are right, and the same every time."""

    def sorting(key, batch):
        scores = batch + 0.0
        batch.sort()
        return scores

    with pytest.raises(AssertionError, match="the verifier changed the batch it was given"):
        check_verifier(sorting, BATCH.copy(), stochastic=True)


def test_a_masked_mask_is_found():
    """NumPy would drop what it masks."""

    def masked(key, scores, groups):
        return np.ma.masked_array(scores > 0.5, mask=scores > 0.9)

    with pytest.raises(AssertionError, match="the mask is a masked array"):
        check_filter(masked)
    loop = Loop(
        generate=lambda key, model, n: key.numpy().random(n),
        verify=lambda key, batch: batch,
        filter=masked,
        refit=lambda key, model, batch: batch.mean(),
    )
    with pytest.raises(ValueError, match="plain boolean mask, got a masked array"):
        loop.step(Key(0), State(0.0), 50)


def test_a_score_that_depends_on_the_order_alone_is_found():
    """The rows picked agree, the reversed ones do not."""

    def position(key, batch):
        return np.where(np.all(np.diff(batch) < 0), 1.0, 0.0) + np.zeros(len(batch))

    with pytest.raises(AssertionError, match="a score depends on the order of rows"):
        check_verifier(position, np.arange(6.0))


def test_verifiers_that_judge_rows_together_must_say_so_and_then_may():
    @dataclass(frozen=True)
    class Rank:
        rowwise = False

        def __call__(self, key, batch):
            return rank(key, batch)

    check_verifier(Rank(), BATCH, rowwise=False)
    check_verifier(Shifted(Rank(), -2.0), BATCH, rowwise=False)
    with pytest.raises(
        AssertionError, match="says that its scores depend on other rows; pass rowwise=False if"
    ):
        check_verifier(Rank(), BATCH)
    with pytest.raises(
        AssertionError, match="does not say rowwise = False, so the loop would let it judge a round"
    ):
        check_verifier(rank, BATCH, rowwise=False)


def test_stochastic_verifiers_must_still_repeat_themselves():
    check_verifier(lambda key, batch: key.numpy().random(len(batch)), BATCH, stochastic=True)
    with pytest.raises(AssertionError, match="same key, other scores"):
        check_verifier(Counter(), BATCH, stochastic=True)
    with pytest.raises(AssertionError, match="a score is infinite"):
        check_verifier(lambda key, batch: np.full(len(batch), np.inf), BATCH, stochastic=True)


def test_good_verifiers_pass():
    check_verifier(lambda key, batch: np.where(batch > 1, np.nan, batch), BATCH)
    check_verifier(lambda key, batch: np.where(batch > 0, 1, -1), BATCH)
    check_verifier(lambda key, batch: Verdict(batch.astype(np.float32)), BATCH)


# Filters.


@dataclass(frozen=True)
class Rowwise:
    """Any function of scores that says it judges rows one by one."""

    judge: object
    rowwise = True

    def __call__(self, key, scores, groups=None):
        return self.judge(scores)


def overwrite(key, scores, groups):
    mask = scores > 0.5
    scores[:] = 0.0
    return mask


def top_of_all(key, scores, groups):
    """Rank over all rows, whatever their group."""
    return scores >= np.nanquantile(scores, 0.7)


@pytest.mark.parametrize(
    "filter, message",
    [
        (lambda key, scores, groups: ~(scores < 0.5), r"a row without a verdict \(NaN\) is kept"),
        (lambda key, scores, groups: np.ones(len(scores), dtype=bool), r"\(NaN\) is kept"),
        (overwrite, "same key, other mask|the scores were changed in place"),
        (
            lambda key, scores, groups: (scores > 0.5).astype(int),
            "expected a boolean mask, got dtype int",
        ),
        (lambda key, scores, groups: np.flatnonzero(scores > 0.5), "expected a mask of shape"),
        (
            lambda key, scores, groups: (scores > 0.5)[1:],
            r"expected a mask of shape \(60,\), got \(59,\)",
        ),
        (
            lambda key, scores, groups: scores > np.random.default_rng().random(60),
            "same key, other mask",
        ),
        (top_of_all, "the scores of one group change the mask of another"),
        (
            lambda key, scores, groups: scores > np.nanmean(scores),
            "one group change the mask of another",
        ),
        (
            Rowwise(lambda scores: scores > np.nanmedian(scores)),
            "rowwise = True, but other rows|one group change",
        ),
        (
            Rowwise(lambda scores: TopFraction(0.5)(Key(0), scores)),
            "rowwise = True, but other rows|one group change",
        ),
    ],
)
def test_bad_filters_are_found(filter, message):
    with pytest.raises(AssertionError, match=message):
        check_filter(filter)


def test_a_filter_that_ranks_in_its_groups_may_not_call_itself_rowwise():
    @dataclass(frozen=True)
    class Claims:
        rowwise = True

        def __call__(self, key, scores, groups=None):
            return TopFraction(0.3)(key, scores, groups)

    with pytest.raises(AssertionError, match="rowwise = True, but other rows change the mask"):
        check_filter(Claims())


def test_scores_changed_in_place_are_found_even_where_the_mask_is_right():
    def shift(key, scores, groups):
        mask = scores > -np.inf
        scores += 1e-9
        return mask

    with pytest.raises(AssertionError, match="the scores were changed in place"):
        check_filter(shift)


def test_a_filter_is_checked_on_the_scores_given():
    """Good for scores of one sign only: the example decides."""

    def positive(key, scores, groups):
        return np.sqrt(scores) > 1 if np.nanmin(scores) >= 0 else np.ones(len(scores), dtype=int)

    check_filter(positive)
    with pytest.raises(AssertionError, match="got dtype int"):
        check_filter(positive, np.linspace(-1, 1, 20))


def test_a_filter_that_knows_its_groups_is_checked_on_them():
    """The default example has groups 0, 1, 2, which this one has no counts for; its own are as strictly checked."""
    seven, eight = np.repeat([7, 8], 30), np.tile([7, 8], 30)
    count = TopCount({7: 5, 8: 2})
    with pytest.raises(ValueError, match="lacks group 0"):
        check_filter(count)
    for groups in (seven, eight):
        check_filter(count, groups=groups)
        check_filter(count, np.linspace(0, 1, 60), groups)

    def of_all(key, scores, groups):
        count(key, scores, groups)
        return scores >= np.nanquantile(scores, 0.7)

    with pytest.raises(AssertionError, match="the scores of one group change the mask of another"):
        check_filter(of_all, groups=eight)


# Backends.


def generate(key, model, n):
    return model + key.numpy().standard_normal(n)


def refit(key, model, batch):
    return np.array([batch.mean()])


def loop(**settings):
    return Loop(**{"generate": generate, "refit": refit} | settings)


START = State(np.zeros(1))


def refit_in_place(key, model, batch):
    model[:] = batch.mean()
    return model


def refit_past(key, model, batch):
    batch -= batch.mean()
    return np.array([batch.std()])


class Memory:
    """A refit that remembers how often it ran."""

    def __init__(self):
        self.calls = 0

    def __call__(self, key, model, batch):
        self.calls += 1
        return np.array([batch.mean() + self.calls])


@dataclass(frozen=True)
class NoIntegers(Columns):
    """Take integers for a mask."""

    x: np.ndarray

    def __getitem__(self, rows):
        return NoIntegers(self.x[np.resize(np.asarray(rows, dtype=bool), len(self.x))])


@dataclass(frozen=True)
class Sorted(Columns):
    """Forget the order in which integers were given."""

    x: np.ndarray

    def __getitem__(self, rows):
        return Sorted(self.x[rows if np.asarray(rows).dtype == bool else np.sort(rows)[::-1] - 1])


def columns(kind):
    return {
        "generate": lambda key, model, n: kind(generate(key, model, n)),
        "refit": lambda key, model, batch: refit(key, model, batch.x),
    }


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"refit": refit_in_place}, "refit changed the model it was given; return a new one"),
        ({"refit": Memory()}, "the same key gives another run"),
        (
            {"generate": lambda key, model, n: model + np.random.default_rng().standard_normal(n)},
            "the same key gives another run",
        ),
        (
            {"measure": lambda key, model: {"lot": np.random.default_rng().random()}},
            "the same key gives another run",
        ),
        (columns(NoIntegers), "a batch must be indexed by mask and by integers"),
        (columns(Sorted), "indexing by mask and by integers disagree"),
    ],
)
def test_bad_backends_are_found(settings, message):
    with pytest.raises(AssertionError, match=message):
        check_backend(loop(**settings), START, 20)


def test_a_generate_that_draws_from_the_global_state_is_found():
    np.random.seed(0)
    with pytest.raises(AssertionError, match="the same key gives another run"):
        check_backend(
            loop(generate=lambda key, model, n: model + np.random.standard_normal(n)), START, 20
        )


def test_a_generate_that_mistakes_its_number_is_found():
    """Right for the sizes of the run, wrong for others."""
    with pytest.raises(AssertionError, match="generate was asked for 7 rows and returned 20"):
        check_backend(loop(generate=lambda key, model, n: generate(key, model, 20)), START, 20)


def test_a_state_outside_the_state_is_found_on_resuming():
    """A refit that counts its calls within a run passes a repeat, and is found by the run resumed."""

    class Warm:
        def __call__(self, key, model, batch):
            first = key.path[1] == 1
            self.offset = 0.0 if first else self.offset + 1.0
            return np.array([batch.mean() + self.offset])

    with pytest.raises(AssertionError, match="resuming changes the run"):
        check_backend(loop(refit=Warm()), START, 20)


def test_a_refit_that_changes_its_batch_is_found():
    """Whether the pool shares its rows with the past or hands the refit a copy, as `Accumulate` does."""
    real = np.arange(10.0)

    def share(key, past, kept):
        return past[0], past

    with pytest.raises(AssertionError, match="refit changed the batch it was given"):
        check_backend(loop(refit=refit_past, pool=share), State(np.zeros(1), past=(real,)), 20)
    with pytest.raises(AssertionError, match="refit changed the batch it was given"):
        check_backend(
            loop(refit=refit_past, pool=Accumulate()), State(np.zeros(1), past=(real,)), 20
        )


def test_a_good_backend_passes_with_counts_and_quotas():
    check_backend(loop(), START, 20)
    check_backend(loop(verify=lambda key, batch: batch, filter=Threshold(0.5)), START, Quota(5))


def test_a_part_that_changes_the_batch_is_named():
    """A verifier, an observer, a pool; before this only models were compared."""

    def spoil(key, batch):
        batch += 1.0
        return batch

    with pytest.raises(
        AssertionError, match="verify changed the batch it was given; return a new one"
    ):
        check_backend(loop(verify=spoil, filter=Threshold(-9.0)), START, 20)


def test_scikit_learn_models_pass_and_their_changes_are_found():
    """They have no equality of their own, so a correct backend was accused of a change."""
    mixture = pytest.importorskip("sklearn.mixture")

    def fitted(rows):
        return mixture.GaussianMixture(2, random_state=0).fit(rows)

    def draw(key, model, n):
        which = key.numpy().integers(2, size=n)
        return model.means_[which] + key.fold("noise").numpy().standard_normal((n, 1))

    start = State(fitted(np.linspace(-2, 2, 50)[:, None]))
    check_backend(Loop(generate=draw, refit=lambda key, model, batch: fitted(batch)), start, 40)

    def in_place(key, model, batch):
        return model.fit(batch)

    with pytest.raises(
        AssertionError, match="refit changed the model it was given; return a new one"
    ):
        check_backend(Loop(generate=draw, refit=in_place), start, 40)


def test_a_model_that_cannot_be_looked_into_is_said():
    """A generator, say: what happens inside would go unnoticed."""
    hidden = Loop(
        generate=lambda key, model, n: key.numpy().random(n),
        refit=lambda key, model, batch: (each for each in []),
    )
    with pytest.warns(UserWarning, match="check_backend cannot look into generator: a change in"):
        check_backend(hidden, State(each for each in []), 5)


# Models that are torch modules, or anything else that says its `state_dict`.


class Network:
    """As much of a torch module as the checks know of: equal to no other, known by its weights."""

    def __init__(self, weight):
        self.weight = np.array(weight, dtype=float)

    def state_dict(self):
        return {"weight": self.weight}


def network_loop(refit):
    return Loop(generate=lambda key, model, n: generate(key, model.weight, n), refit=refit)


def test_models_are_compared_by_their_state_dict():
    fresh = network_loop(lambda key, model, batch: Network([batch.mean()]))
    check_backend(fresh, State(Network([0.0])), 20)

    def in_place(key, model, batch):
        model.weight[:] = batch.mean()
        return model

    def chance(key, model, batch):
        return Network([np.random.default_rng().random()])

    for refit, message in (
        (in_place, "refit changed the model"),
        (chance, "the same key gives another run"),
    ):
        with pytest.raises(AssertionError, match=message):
            check_backend(network_loop(refit), State(Network([0.0])), 20)


def test_torch_modules_are_compared_by_their_tensors():
    """Parameters and buffers, to the last bit."""
    torch = pytest.importorskip("torch", reason="torch is not installed")

    def linear(value):
        made = torch.nn.BatchNorm1d(1)
        with torch.no_grad():
            made.weight.fill_(value)
        return made

    def draw(key, model, n):
        return generate(key, float(model.weight.detach()[0]), n)

    def in_place(key, model, batch):
        model.running_mean += 1e-6
        return linear(batch.mean())

    check_backend(
        Loop(generate=draw, refit=lambda key, model, batch: linear(batch.mean())),
        State(linear(0.0)),
        20,
    )
    with pytest.raises(AssertionError, match="refit changed the model it was given"):
        check_backend(Loop(generate=draw, refit=in_place), State(linear(0.0)), 20)


def test_models_in_bfloat16_are_compared():
    """NumPy has no such type; a difference of one bit is found all the same."""
    torch = pytest.importorskip("torch")
    model = torch.nn.Linear(2, 2).bfloat16()

    def nudged(key, model, batch):
        new = deepcopy(model)
        new.weight.data += 1 / 16
        return new

    loop = Loop(generate=lambda key, model, n: key.numpy().random(n), refit=nudged)
    check_backend(loop, State(model), 5)

    def in_place(key, model, batch):
        model.weight.data += 1 / 16
        return model

    with pytest.raises(AssertionError, match="refit changed the model it was given"):
        check_backend(replace(loop, refit=in_place), State(model), 5)


@pytest.mark.parametrize(
    "rows, message",
    [(0, "a few rows, got 0"), (1, "a few rows, got 1"), (3, "no row of the example has a verd")],
)
def test_an_example_that_can_show_nothing_is_refused(rows, message):
    with pytest.raises(AssertionError, match=message):
        check_verifier(lambda key, batch: batch * np.nan, np.arange(1.0 * rows))


def test_an_example_that_is_no_batch_is_refused():
    with pytest.raises(TypeError, match="the example must be rows .* got a list; return a NumPy"):
        check_verifier(lambda key, batch: np.ones(len(batch)), ["a", "b"])


def test_a_filter_that_changes_the_groups_is_refused():
    def careless(key, scores, groups):
        groups *= 0
        return ~np.isnan(scores)

    with pytest.raises(AssertionError, match="the groups were changed in place"):
        check_filter(careless)


def test_scores_without_a_verdict_show_nothing_of_a_filter():
    with pytest.raises(AssertionError, match="no row of the example has a verdict"):
        check_filter(TopCount(1), scores=np.full(6, np.nan))


def test_a_backend_is_checked_from_a_later_round_too():
    loop = Loop(
        generate=lambda key, model, n: model + key.numpy().standard_normal(n),
        refit=lambda key, model, batch: batch.mean(),
    )
    check_backend(loop, State(np.float64(0), round=5), 10)
    with pytest.raises(ValueError, match="check_backend: rounds must be an integer of at least 1"):
        check_backend(loop, State(np.float64(0)), 10, rounds=0)
