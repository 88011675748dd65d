"""Generators whose rows come in turn: row i of a round is the same whatever the block."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from veriloop import Columns, EachRound, Key, Loop, Quota, State, Threshold, TopFraction
from veriloop.core.positions import TRIES, first_rows, same_start, starting_at
from veriloop.testing import check_backend


@dataclass(frozen=True)
class Written(Columns):
    """What was written about each article."""

    article: np.ndarray
    text: np.ndarray


@dataclass(frozen=True)
class Stuck:
    """Write about 12 articles in turn, and know nothing of blocks."""

    first: int = 0
    articles: int = 12

    def __call__(self, key, model, n):
        article = (self.first + np.arange(n)) % self.articles
        return Written(article, key.numpy().standard_normal(n))


@dataclass(frozen=True)
class InTurn(Stuck):
    """Write about 12 articles in turn, from block to block."""

    def starting_at(self, row):
        return replace(self, first=row)


def loop(**settings):
    return Loop(
        **{
            "generate": InTurn(),
            "verify": lambda key, batch: batch.text,
            "filter": Threshold(),
            "refit": lambda key, model, batch: batch.article.tolist(),
        }
        | settings
    )


START = State(None)


def articles(made, n):
    """The articles of all rows drawn in a round, and of the rows that were kept."""
    seen = []
    made.step(Key(0), START, n, lambda drawn: seen.append(drawn))
    drawn = seen[0]
    rows = np.arange(len(drawn.candidates))
    return drawn.candidates[rows].article, drawn.candidates[drawn.mask].article


@pytest.mark.parametrize("chunk", [None, 1])
@pytest.mark.parametrize("block", [1, 5, 12, 100])
@pytest.mark.parametrize("n", [30, Quota(9)])
def test_row_i_is_about_the_same_article_whatever_the_block_and_the_memory(n, block, chunk):
    """Under a quota too, and where rows are drawn again."""
    drawn, kept = articles(loop(block=block, chunk=chunk), n)
    np.testing.assert_array_equal(drawn, np.arange(len(drawn)) % 12)
    assert len(kept) > 3


def test_a_generator_made_for_each_round_is_moved_too():
    drawn, _ = articles(loop(generate=EachRound(lambda key, state: InTurn()), block=5), 12)
    np.testing.assert_array_equal(drawn, np.arange(12))


def test_one_block_asks_for_no_position():
    class Never(InTurn):
        def starting_at(self, row):
            raise AssertionError("the first block begins at row 0")

    articles(loop(generate=Never()), 30)


@pytest.mark.parametrize("settings", [{"block": 5}, {"block": 5, "chunk": 1}])
@pytest.mark.parametrize("n", [12, Quota(9)])
def test_a_generator_that_begins_again_in_every_block_is_refused(settings, n):
    made = loop(generate=Stuck(), **settings)
    with pytest.raises(ValueError, match=r"'article' is the same .* starting_at\(row\)"):
        made.step(Key(0), START, n)


def test_groups_that_begin_again_are_refused_where_the_batch_cannot_be_looked_into():
    class Texts(list):
        def __getitem__(self, rows):
            return Texts(np.array(list(self), dtype=object)[rows])

        @classmethod
        def concatenate(cls, batches):
            return cls(text for batch in batches for text in batch)

    def generate(key, model, n):
        return Texts(f"{i % 3}: {key.integer()}" for i in range(n))

    made = Loop(
        generate=generate,
        refit=lambda key, model, batch: model,
        group=lambda batch: np.array([int(text[0]) for text in batch]),
        block=6,
    )
    with pytest.raises(ValueError, match="'group' is the same under every key"):
        made.step(Key(0), START, 12)


def test_a_generator_that_ignores_its_key_is_refused_in_several_blocks_and_not_in_one():
    made = Loop(generate=lambda key, model, n: np.arange(n), refit=lambda key, model, rows: rows)
    made.step(Key(0), START, 12)
    with pytest.raises(ValueError, match="'rows' is the same under every key"):
        replace(made, block=5).step(Key(0), START, 12)


@pytest.mark.parametrize(
    "generate",
    [
        lambda key, model, n: np.zeros(n),
        lambda key, model, n: (key.numpy().random(n) < 0.5).astype(int),
        lambda key, model, n: (key.integer() + np.arange(n)) % 2,
        lambda key, model, n: np.array([f"{x:.1f}" for x in key.numpy().random(n)], dtype=object),
    ],
    ids=["constant", "coins", "a cycle from a random place", "texts"],
)
def test_rows_that_are_alike_by_chance_are_no_rows_in_turn(generate):
    """Two blocks of two coins are alike in a quarter of all cases, and a cycle of two in half."""
    for seed in range(20):
        made = Loop(generate=generate, refit=lambda key, model, rows: model, block=2)
        assert made.step(Key(seed), START, 20)[1].kept == 20


def test_alike_by_chance_costs_few_rows_more():
    """A repeated start is drawn again until one key differs."""
    asked = []

    def generate(key, model, n):
        asked.append(n)
        return (key.integer() + np.arange(n)) % 2

    rounds = 200
    made = Loop(generate=generate, refit=lambda key, model, rows: model, block=50)
    for seed in range(rounds):
        made.step(Key(seed), START, 100)
    more = np.array(asked).sum() / 50 - 2 * rounds
    # Half of all pairs are alike. Each is drawn again until it differs: two times in the mean, and
    # with a variance of two. So the sum has mean `rounds` and variance 3 `rounds`.
    z = (more - rounds) / np.sqrt(3 * rounds)
    assert abs(z) < 4


def test_a_position_that_is_no_generator_is_refused():
    class Wrong(Stuck):
        def starting_at(self, row):
            return None

    with pytest.raises(TypeError, match=r"starting_at\(5\) must return a generator, got NoneType"):
        loop(generate=Wrong(), block=5).step(Key(0), START, 12)
    assert starting_at(Wrong(), 0) == Wrong()


def test_first_rows_know_arrays_columns_and_groups():
    batch = Written(np.arange(100), np.array(["a"] * 100, dtype=object))
    first = first_rows(batch, groups=np.zeros(100, dtype=int))
    assert [(name, len(rows)) for name, rows in first.items()] == [
        ("article", 64),
        ("text", 64),
        ("group", 64),
    ]
    assert first_rows(["no columns"]) == {}


@pytest.mark.parametrize(
    "one, other, same",
    [("abc", "abd", False), ("abc", "ab", True), ("aab", "aa", None), ("ab", "", None)],
)
def test_blocks_are_compared_as_far_as_both_go(one, other, same):
    assert same_start(list(one), list(other)) is same


# The check of a backend.


@pytest.mark.parametrize("n", [12, 100, Quota(4)])
def test_a_good_generator_in_turn_passes_the_check_of_a_backend(n):
    check_backend(loop(block=5), START, n)


@pytest.mark.parametrize("n", [12, 100, Quota(4)])
def test_the_check_of_a_backend_finds_rows_in_turn_though_one_block_holds_the_round(n):
    with pytest.raises(AssertionError, match=r"generate returns the same 'article' .* starting_at"):
        check_backend(loop(generate=Stuck()), START, n)


def test_the_check_of_a_backend_finds_a_position_that_is_wrong():
    class Off(Stuck):
        def starting_at(self, row):
            return replace(self, first=row + 1)

    with pytest.raises(AssertionError, match="must go on with the round's row 6, and does not in"):
        check_backend(loop(generate=Off()), START, 12)


def test_the_check_of_a_backend_takes_a_cycle_from_a_random_place():
    def generate(key, model, n):
        return (key.integer() + np.arange(n)) % 2

    made = Loop(
        generate=generate,
        verify=lambda key, rows: rows,
        filter=TopFraction(0.5),
        refit=lambda key, model, rows: model,
    )
    check_backend(made, START, 12)
    assert TRIES >= 10
