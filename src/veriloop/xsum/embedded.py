"""A generator of short news reports with one-sentence summaries: a corpus for machines without one.

Every report tells one event with a place, a person and a number, in one of many wordings, among sentences that do
not matter. Its summary puts the same facts in other words: a copied first sentence is a fair summary, and no more.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from importlib.resources import files
from typing import Any, NamedTuple

import numpy as np

from veriloop.core import Key
from veriloop.xsum.rows import Data, Strings, Summaries

# Names are closed lists, so that each is a frequent piece of the tokenizer and can be copied as one.
WORDINGS: dict[str, Any] = json.loads(files("veriloop.xsum").joinpath("reports.json").read_text())
KINDS, PLACES, NUMBERS = WORDINGS["kinds"], WORDINGS["places"], WORDINGS["numbers"]
EVENTS = [kind["word"] for kind in KINDS]  # every summary of a kind has its word, and no other's


class Facts(NamedTuple):
    """What a report tells: the number of its kind in `KINDS`, and words."""

    kind: int
    place: str
    first: str
    last: str
    number: str


def draw_facts(rng: np.random.Generator) -> Facts:
    """Return an event, every part of it equally likely and independent of the others."""
    words = (_pick(rng, WORDINGS[name]) for name in ("places", "first", "last", "numbers"))
    return Facts(int(rng.integers(len(KINDS))), *words)


def tell(rng: np.random.Generator, facts: Facts) -> str:
    """Return an article: the event in one of its wordings, perhaps after an opener, among what does not matter."""
    kind = KINDS[facts.kind]
    story = [_say(rng, kind["leads"], facts), _say(rng, kind["details"], facts)]
    if rng.random() < 0.35:
        story.insert(0, _pick(rng, WORDINGS["openers"]))
    if rng.random() < 0.5:
        story.append(_say(rng, kind["extras"], facts))
    story += [str(words) for words in rng.choice(WORDINGS["distractors"], rng.integers(3), replace=False)]
    if rng.random() < 0.4:
        other = draw_facts(rng)
        story += ["In other news:", _say(rng, KINDS[other.kind]["leads"], other)]
    return " ".join(story)


def sum_up(rng: np.random.Generator, facts: Facts) -> str:
    """Return a one-sentence summary in one of its wordings."""
    return _say(rng, KINDS[facts.kind]["summaries"], facts)


def reports(key: Key, n: int) -> Summaries:
    """Return `n` articles with their summaries."""
    rng = key.numpy()
    told = [(tell(rng, facts), sum_up(rng, facts)) for facts in (draw_facts(rng) for _ in range(n))]
    return Summaries.of(*zip(*told, strict=True)) if n else Summaries.of((), ())


def documents(key: Key, n: int, *, verbatim: float = 0.7) -> list[str]:
    """Return texts to learn the language from: a report and its later edition, the same or the event told anew.

    Only what repeats itself teaches a model to copy from what it has read, which summaries are made by.
    """
    rng, texts = key.numpy(), []
    for _ in range(n):
        facts = draw_facts(rng)
        first = tell(rng, facts)
        texts.append(f"{first}\n\n{first if rng.random() < verbatim else tell(rng, facts)}")
    return texts


def corpus(key: Key, train: int, test: int) -> Data:
    """Return articles to learn from, and as many each to validate and to test on."""
    return Data(
        "reports",
        train=reports(key.fold("train"), train),
        validation=reports(key.fold("validation"), test),
        test=reports(key.fold("test"), test),
    )


def facts_right(summaries: Strings, references: Strings) -> dict[str, float]:
    """Return what summaries get right, and how much of the corpus they still tell of.

    `event`, `place`, `number`: the shares that hold the event's word, the place and the number of their reference.
    `wording`: the share that is one of the corpus's sentences, whatever the facts in it. `kinds`: how many kinds of
    event they tell of.

    >>> facts_right(["A fire in Leeds."], ["Two people were saved from a fire in Leeds."])
    {'event': 1.0, 'place': 1.0, 'number': 0.0, 'wording': 0.0, 'kinds': 1}
    """
    shares: dict[str, float] = {}
    for name, known in (("event", EVENTS), ("place", PLACES), ("number", NUMBERS)):
        right = [_found(s, known) == _found(r, known) for s, r in zip(summaries, references, strict=True)]
        shares[name] = _share(right)
    told = {_found(summary, EVENTS) for summary in summaries} - {None}
    return {**shares, "wording": _share([bool(_SENTENCE.fullmatch(s)) for s in summaries]), "kinds": len(told)}


def kinds(rows: Summaries) -> np.ndarray:
    """Return the kind of event that each row's reference tells of, its place in `KINDS`, shape (n,); -1: of none.

    As the loop's `group`, filters keep the best of every kind, and no kind is forgotten for another.

    >>> EVENTS[kinds(Summaries.of(["An article."], ["Two people were saved from a fire in Leeds."]))[0]]
    'fire'
    """
    found = [_found(reference, EVENTS) for reference in rows.references]
    return np.array([-1 if event is None else EVENTS.index(event) for event in found], dtype=int)


def _share(flags: Sequence[bool]) -> float:
    return float(np.mean(flags)) if flags else float("nan")


def _pattern(wording: str) -> str:
    """Return the regular expression of a wording, with any of the listed words in place of every fact."""
    pieces = re.split(r"\{(\w+)\}", wording)
    listed = {"place": PLACES, "number": NUMBERS, "first": WORDINGS["first"], "last": WORDINGS["last"]}
    return "".join("(?:" + "|".join(listed[p]) + ")" if i % 2 else re.escape(p) for i, p in enumerate(pieces))


_SENTENCE = re.compile("|".join(_pattern(wording) for kind in KINDS for wording in kind["summaries"]))


def _found(text: str, known: Sequence[str]) -> str | None:
    """Return the first of the known words, singular or plural, that the text holds."""
    lower = {word.lower(): word for word in known}
    words = re.findall(r"[a-z]+", text.lower())
    return next((lower[form] for word in words for form in (word, word.removesuffix("s")) if form in lower), None)


def _pick(rng: np.random.Generator, wordings: Sequence[str]) -> str:
    return wordings[int(rng.integers(len(wordings)))]


def _say(rng: np.random.Generator, wordings: Sequence[str], facts: Facts) -> str:
    return _pick(rng, wordings).format(**facts._asdict())
