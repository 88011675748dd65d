"""Pages are in plain language: short sentences, and none of the phrases that readers stumble over.

The limits are of each page: a mean of at most 14 words a sentence, and at most one sentence in
twenty with more than 25. Tables, code and formulas do not count.
"""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(ROOT.glob("docs/*.md")),
    *sorted(ROOT.glob("docs/results/*.md")),
]
MEAN, LONG, LONG_FRACTION = 14, 25, 0.05
# Clipped, inverted or old-fashioned: what each is in plain words.
PHRASES = {
    r"to be had": "available",
    r"as of": "like that of",
    r"of what": "of the ...",
    r"but for": "except",
    r"be it": "whether",
    r"lest": "so that ... not",
    r"hence": "so",
    r"wherefore": "why",
    r"thereof": "of it",
    r"foretold": "expected",
    r"than about": "than",
    r"of which all": "all of these",
    r"has none such": "has no such ...",
}


def sentences(markdown: str) -> list[str]:
    """Return the sentences of prose; a literal counts as one word."""
    text = re.sub(r"^```.*?^```", "", markdown, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"<!--.*?-->|<[^>]+>", "", text, flags=re.DOTALL)
    text = re.sub(r"^\s*(\||#|!\[).*$", "", text, flags=re.MULTILINE)
    text = re.sub(r"`[^`]*`|\$[^$]*\$", "X", text)
    text = re.sub(r"\]\([^)]*\)", "]", text)
    text = re.sub(r"^\s*(?:[-*]|\d+\.) ", "\n\n", text, flags=re.MULTILINE)
    parts = re.split(r"(?<=[.!?:;])[\"*)_\]]*\s+|\n\s*\n", text)
    return [" ".join(part.split()) for part in parts if len(part.split()) > 1]


def phrases(sentence: str) -> list[str]:
    """Return the listed phrases that a sentence holds."""
    return [each for each in PHRASES if re.search(rf"\b{each}\b", sentence, flags=re.IGNORECASE)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_sentences_of_a_page_are_short(page):
    lengths = {each: len(each.split()) for each in sentences(page.read_text())}
    long = [each for each, words in lengths.items() if words > LONG]
    assert len(long) <= LONG_FRACTION * len(lengths), "\n".join(long)
    assert sum(lengths.values()) <= MEAN * len(lengths)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_has_none_of_the_listed_phrases(page):
    found = {each: phrases(each) for each in sentences(page.read_text())}
    assert {each: names for each, names in found.items() if names} == {}


def test_long_sentences_and_phrases_are_found():
    long = " ".join(["word"] * 26)
    text = f"Short one. {long}. `a b c` counts once!\n\n| no | table |\n\n- A list, but for this.\n"
    found = sentences(text)
    assert [len(each.split()) for each in found] == [2, 26, 3, 5]
    assert phrases(found[-1]) == ["but for"]
