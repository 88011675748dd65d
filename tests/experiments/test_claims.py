"""The pages of docs/results say what the committed records hold."""

import doctest
import re

import pytest
from helpers import RESULTS

from _claims import PAGES, RUNS, block, filled
from claims import tables

pytestmark = pytest.mark.claims
NUMBER = re.compile(r"-?\d[\d,]*\.\d+(?: ± \d+(?:\.\d+)?)?|-?\d+ ± \d+(?:\.\d+)?")
NAMES = re.compile(r"(Theorem|Python|torch|numpy) \d+(\.\d+)*|SmolLM2-\d+M")
PUBLISHED = {"121.04", "92.12", "0.8182"}  # the first two: NELBO of the paper's two first models
SETTINGS = {"0.25", "0.5", "1.5", "0.05", "0.32", "0.55", "0.65", "2510.16657"}


def numbers(text: str) -> list[str]:
    """Return the numbers of a text that a run must have printed."""
    return [found for found in NUMBER.findall(NAMES.sub("", text)) if found not in SETTINGS]


def prose(page: str) -> str:
    """Return a page without its tables, code and links."""
    page = re.sub(r"<!-- table.*?<!-- end -->", "", page, flags=re.DOTALL)
    page = re.sub(r"```.*?```", "", page, flags=re.DOTALL)
    page = re.sub(r"\]\([^)]*\)|`[^`]*`", "", page)
    return " ".join(page.split())


def missing(text: str, printed: str) -> list[str]:
    """Return the numbers of a text that are printed nowhere, whatever their sign."""
    known = {number.lstrip("-") for number in NUMBER.findall(printed)} | PUBLISHED
    lone = {number.split(" ± ")[0] for number in known}
    return [number for number in numbers(text) if number.lstrip("-") not in known | lone]


@pytest.fixture(scope="module")
def printed() -> dict[str, str]:
    """Return what is printed of every run."""
    return {name: block(name) for name in RUNS}


@pytest.mark.parametrize("name", PAGES)
def test_the_tables_of_a_page_are_those_that_the_records_give(name):
    """`python experiments/_claims.py --write` mends a page."""
    page = (RESULTS / f"{name}.md").read_text()
    assert filled(page) == page


@pytest.mark.parametrize("name", PAGES)
def test_a_number_in_the_prose_is_in_a_table_of_its_page(name):
    page = (RESULTS / f"{name}.md").read_text()
    assert missing(prose(page), page_tables(page)) == []


def page_tables(page: str) -> str:
    return "\n".join(re.findall(r"<!-- table.*?<!-- end -->", page, flags=re.DOTALL))


def test_every_committed_run_is_printed(printed):
    """A run that no page knows has all that its figure's summary holds."""
    folders = {path.parent.name for path in RESULTS.glob("*/records.jsonl")}
    assert set(printed) == folders
    assert "| quantity | n | measured |" in printed["xsum_rouge-verifiers-2"]


def test_the_overview_of_claims_repeats_what_the_pages_say(printed):
    overview = (RESULTS / "README.md").read_text()
    assert missing(prose(overview), "\n".join(printed.values())) == []


def test_the_examples_of_the_tables_are_so():
    tried = doctest.testmod(tables, optionflags=doctest.ELLIPSIS)
    assert tried.attempted > 2 and not tried.failed


def test_a_number_that_no_table_holds_is_found():
    """With another mean, or another interval."""
    table = "| error | 5 | -0.12 ± 0.03 |"
    assert missing("It falls by 0.12 ± 0.03, that is 0.12.", table) == []
    assert missing("It falls by 0.13 ± 0.03.", table) == ["0.13 ± 0.03"]
    assert missing("It falls by 0.12 ± 0.04.", table) == ["0.12 ± 0.04"]
