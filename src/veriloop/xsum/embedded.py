"""A generator of short news reports with one-sentence summaries: a corpus that needs no download.

Every report is about one event with a place, a person and a number, in one of many wordings, among
sentences that do not matter. Its summary has the same facts in other words. So a model that copies
the first sentence writes a fair summary, but not a good one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from importlib.resources import files
from typing import Any, NamedTuple

import numpy as np

from veriloop.core import Key
from veriloop.core.checks import check_count
from veriloop.core.parts import Groups
from veriloop.core.verdict import fraction
from veriloop.text.rows import Strings
from veriloop.xsum.rows import Data, Summaries

# Names are closed lists, so that each is a frequent piece of the tokenizer and is copied as one.
WORDINGS: dict[str, Any] = json.loads(files("veriloop.xsum").joinpath("reports.json").read_text())
KINDS = WORDINGS["kinds"]
PLACES = WORDINGS["places"]
NUMBERS = WORDINGS["numbers"]
EVENTS = [kind["word"] for kind in KINDS]  # a summary has the word of its own kind, and no other
VERBATIM = 0.7  # share of the later editions that repeat the report word for word


class Facts(NamedTuple):
    """What a report is about: the number of its kind in `KINDS`, and words."""

    kind: int
    place: str
    first: str
    last: str
    number: str


def draw_facts(rng: np.random.Generator) -> Facts:
    """Return an event; all its parts are equally likely and independent."""
    kind = int(rng.integers(len(KINDS)))
    words = [_pick(rng, WORDINGS[name]) for name in ("places", "first", "last", "numbers")]
    return Facts(kind, *words)


def write_article(rng: np.random.Generator, facts: Facts) -> str:
    """Return an article: the event in one of its wordings, among sentences that do not matter."""
    kind = KINDS[facts.kind]
    story = [_say(rng, kind["leads"], facts), _say(rng, kind["details"], facts)]
    if rng.random() < 0.35:
        story.insert(0, _pick(rng, WORDINGS["openers"]))
    if rng.random() < 0.5:
        story.append(_say(rng, kind["extras"], facts))
    count = rng.integers(3)
    for words in rng.choice(WORDINGS["distractors"], count, replace=False):
        story.append(str(words))
    if rng.random() < 0.4:
        other = draw_facts(rng)
        story.append("In other news:")
        story.append(_say(rng, KINDS[other.kind]["leads"], other))
    return " ".join(story)


def write_summary(rng: np.random.Generator, facts: Facts) -> str:
    """Return a summary of one sentence, in one of its wordings."""
    return _say(rng, KINDS[facts.kind]["summaries"], facts)


def reports(key: Key, n: int) -> Summaries:
    """Return articles with their summaries.

    key: draws the events and the wordings.
    n: how many.

    >>> reports(Key(0), 2).summaries[0]
    'A Derby bank manager guilty of fraud has been jailed for eleven years.'
    """
    check_count("reports: n", n, least=0)
    rng = key.numpy()
    articles: list[str] = []
    summaries: list[str] = []
    for _ in range(n):
        facts = draw_facts(rng)
        articles.append(write_article(rng, facts))
        summaries.append(write_summary(rng, facts))
    return Summaries.of(articles, summaries)


def documents(key: Key, n: int) -> list[str]:
    r"""Return texts to learn the language from: each is a report and its later edition.

    The later edition repeats the report, or is about the same event in other words. Only texts that
    repeat themselves teach a model to copy what it has read, as a summary does.

    key: draws the events and the wordings.
    n: how many.

    >>> report, later = documents(Key(0), 1)[0].split("\n\n")
    >>> report[:30], later == report
    ('A former bank manager from Der', True)
    """
    check_count("documents: n", n, least=0)
    rng = key.numpy()
    texts: list[str] = []
    for _ in range(n):
        facts = draw_facts(rng)
        first = write_article(rng, facts)
        later = first
        if rng.random() >= VERBATIM:
            later = write_article(rng, facts)
        texts.append(f"{first}\n\n{later}")
    return texts


def corpus(key: Key, train: int, test: int, validation: int | None = None) -> Data:
    """Return embedded reports in three parts.

    key: draws all of them.
    train: how many to learn from.
    test: how many to test on.
    validation: how many to validate on. None: as many as `test`.

    >>> data = corpus(Key(0), train=20, test=5)
    >>> len(data.train), len(data.validation), len(data.test)
    (20, 5, 5)
    """
    if validation is None:
        validation = test
    return Data(
        "reports",
        train=reports(key.fold("train"), train),
        validation=reports(key.fold("validation"), validation),
        test=reports(key.fold("test"), test),
    )


def facts_right(summaries: Strings, references: Strings) -> dict[str, float]:
    """Return which facts summaries get right, and how much of the corpus they still write about.

    - `event`, `place`, `number`: the shares with the event's word, the place and the number of
      their reference.
    - `wording`: the share that is a sentence of the corpus, whatever the facts in it.
    - `kinds`: how many kinds of event they are about.

    summaries, references: shape (n,).

    >>> facts_right(["A fire in Leeds."], ["Two people were saved from a fire in Leeds."])
    {'event': 1.0, 'place': 1.0, 'number': 0.0, 'wording': 0.0, 'kinds': 1}
    """
    named: dict[str, float] = {}
    for name, known in (("event", EVENTS), ("place", PLACES), ("number", NUMBERS)):
        written = np.array([_found(summary, known) for summary in summaries], dtype=object)
        right = np.array([_found(reference, known) for reference in references], dtype=object)
        named[name] = fraction(written == right)
    whole = [_SENTENCE.fullmatch(summary) is not None for summary in summaries]
    named["wording"] = fraction(np.array(whole, dtype=bool))
    named["kinds"] = len({_found(summary, EVENTS) for summary in summaries} - {None})
    return named


def kinds(rows: Summaries) -> Groups:
    """Return the kind of event that each row's reference is about, shape (n,).

    A kind is its place in `KINDS`; -1 is none. As the loop's `group` it makes filters keep the best
    of every kind, so that no kind is forgotten for another.

    rows: embedded reports.

    >>> EVENTS[kinds(Summaries.of(["An article."], ["Two people left a fire in Leeds."]))[0]]
    'fire'
    """
    numbers = {event: number for number, event in enumerate(EVENTS)}
    found = [_found(reference, EVENTS) for reference in rows.references]
    return np.array([numbers.get(event, -1) for event in found], dtype=int)


def _pattern(wording: str) -> str:
    """Return the regular expression of a wording; each fact may be any of the listed words."""
    listed = {
        "place": PLACES,
        "number": NUMBERS,
        "first": WORDINGS["first"],
        "last": WORDINGS["last"],
    }
    pieces = re.split(r"\{(\w+)\}", wording)
    pattern = ""
    for i, piece in enumerate(pieces):
        if i % 2:
            pattern += "(?:" + "|".join(listed[piece]) + ")"
        else:
            pattern += re.escape(piece)
    return pattern


def _sentence() -> re.Pattern[str]:
    """Return the regular expression of any summary of the corpus."""
    patterns: list[str] = []
    for kind in KINDS:
        patterns += [_pattern(wording) for wording in kind["summaries"]]
    return re.compile("|".join(patterns))


_SENTENCE = _sentence()


def _found(text: str, known: Sequence[str]) -> str | None:
    """Return the first of the known words, singular or plural, that the text holds."""
    lower = {word.lower(): word for word in known}
    for word in re.findall(r"[a-z]+", text.lower()):
        for form in (word, word.removesuffix("s")):
            if form in lower:
                return lower[form]
    return None


def _pick(rng: np.random.Generator, wordings: Sequence[str]) -> str:
    return wordings[int(rng.integers(len(wordings)))]


def _say(rng: np.random.Generator, wordings: Sequence[str], facts: Facts) -> str:
    return _pick(rng, wordings).format(**facts._asdict())
