"""The embedded reports: every wording tells its facts, and nothing but its own."""

import re
from string import Formatter

import numpy as np
import pytest

from veriloop import Key
from veriloop.xsum import Summaries, corpus, documents, facts_right, kinds, reports
from veriloop.xsum.embedded import (
    EVENTS,
    KINDS,
    NUMBERS,
    PLACES,
    WORDINGS,
    Facts,
    draw_facts,
    write_article,
    write_summary,
)


def fields(text):
    return {name for _, name, _, _ in Formatter().parse(text) if name}


@pytest.mark.parametrize("kind", KINDS, ids=EVENTS)
def test_every_wording_tells_what_its_place_in_a_story_asks_for(kind):
    """Leads name the place, details person and number, summaries place, number and the word of their kind alone."""
    assert all(fields(lead) == {"place"} for lead in kind["leads"])
    assert all(fields(detail) == {"first", "last", "number"} for detail in kind["details"])
    assert all(not fields(extra) for extra in kind["extras"])
    for summary in kind["summaries"]:
        assert fields(summary) == {"place", "number"}
        words = {word.removesuffix("s") for word in re.findall(r"[a-z]+", summary.lower())} | set(
            re.findall(r"[a-z]+", summary.lower())
        )
        assert [word for word in EVENTS if word in words] == [kind["word"]]


def test_names_are_of_one_word_and_different():
    for name in ("places", "first", "last", "numbers"):
        words = WORDINGS[name]
        assert len(set(words)) == len(words) and all(
            re.fullmatch("[A-Za-z]+", word) for word in words
        )
    assert len(KINDS) >= 14 and len(PLACES) >= 90
    assert not {word.lower() for word in PLACES} & set(NUMBERS)


ALL_RIGHT = {"event": 1.0, "place": 1.0, "number": 1.0, "wording": 1.0, "kinds": 1}


def test_an_article_holds_the_facts_of_its_summary():
    """Place and number stand in the article; the summary's event, place and number are those it was made from."""
    rng = Key(0).numpy()
    for _ in range(200):
        facts = draw_facts(rng)
        article, summary = write_article(rng, facts), write_summary(rng, facts)
        for text in (article, summary):
            assert facts.place in text and facts.number in text and "{" not in text
        assert facts_right([summary], [write_summary(rng, facts)]) == ALL_RIGHT


def test_wrong_facts_are_told_from_right_ones():
    rng = Key(1).numpy()
    facts = Facts(0, "Leeds", "Ann", "Hall", "two")
    reference = write_summary(rng, facts)
    wrongs = {"event": facts._replace(kind=1), "place": facts._replace(place="York")}
    for which, wrong in (wrongs | {"number": facts._replace(number="ten")}).items():
        shares = facts_right([write_summary(rng, wrong)], [reference])
        assert [name for name, share in shares.items() if share == 0] == [which]
    assert facts_right(["Nothing at all."], [reference]) == dict.fromkeys(ALL_RIGHT, 0.0)
    nothing = facts_right([], [])
    assert nothing.pop("kinds") == 0 and all(np.isnan(share) for share in nothing.values())


def test_a_broken_sentence_is_told_from_a_wording_of_the_corpus():
    """Whatever the facts, right or wrong; kinds are counted once, however often they are told of."""
    rng = Key(3).numpy()
    references = [
        write_summary(rng, Facts(kind, "Leeds", "Ann", "Hall", "two")) for kind in (0, 0, 1, 2)
    ]
    assert facts_right(references, references[::-1])["wording"] == 1
    assert facts_right(references, references)["kinds"] == 3
    broken = [
        references[0].replace("Leeds", "Leeds Leeds"),
        references[1][:-1],
        f"{references[2]} It",
        references[3],
    ]
    assert facts_right(broken, references)["wording"] == 0.25


def test_all_kinds_come_equally_often():
    """By a chi-square that its own variance bounds."""
    rng = Key(2).numpy()
    counts = np.bincount([draw_facts(rng).kind for _ in range(7000)], minlength=len(KINDS))
    expected = 7000 / len(KINDS)
    chi2, freedom = ((counts - expected) ** 2 / expected).sum(), len(KINDS) - 1
    assert abs(chi2 - freedom) < 4 * np.sqrt(2 * freedom)


def test_reports_follow_their_key_and_parts_differ():
    one, two = reports(Key(3), 20), reports(Key(3), 20)
    assert one.articles.tolist() == two.articles.tolist()
    assert (one.summaries == one.references).all() and one.prompts.tolist() == list(range(20))
    assert reports(Key(3), 0).articles.shape == (0,)
    data = corpus(Key(3), 30, 10)
    texts = [set(part.articles) for part in (data.train, data.validation, data.test)]
    assert [len(part) for part in (data.train, data.validation, data.test)] == [30, 10, 10]
    assert not texts[0] & texts[1] and not texts[1] & texts[2]


def test_a_later_edition_is_the_same_or_tells_the_same():
    """Seven of ten word for word, by z; the others name the same place and number."""
    halves = [text.split("\n\n") for text in documents(Key(4), 400)]
    same = sum(first == second for first, second in halves)
    assert abs(same - 280) / np.sqrt(400 * 0.7 * 0.3) < 4
    place = re.compile("|".join(PLACES))
    for first, second in halves:
        assert set(place.findall(first)) & set(place.findall(second))


def test_every_report_is_of_one_kind_and_other_texts_of_none():
    """By the reference alone; the kinds of the generator come out equally often, by z."""
    rows = reports(Key(3), 1400)
    counts, n = np.bincount(kinds(rows)), len(KINDS)  # which refuses a kind below 0
    assert len(counts) == n
    assert (np.abs(counts - 1400 / n) < 4 * np.sqrt(1400 / n * (1 - 1 / n))).all()
    assert kinds(Summaries.of(["A fire in Leeds."], ["Nothing at all."])).tolist() == [-1]
    assert kinds(reports(Key(3), 0)).tolist() == []
