"""The pages of docs/results say what the committed records hold."""

import doctest
import re

import pytest
from helpers import RESULTS

from _claims import PAGES, RUNS, block, filled
from claims import tables
from claims.tables import Quantity, since_best, z
from veriloop import Records

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


def test_a_best_round_is_picked_on_the_other_seeds():
    """Two seeds are lowest in round 1, one in round 2; each is held to the round of the others."""
    paths = {1: (0.0, -1.0, 0.0), 2: (0.0, 0.0, -1.0), 3: (0.0, -1.0, 0.0)}
    rows = []
    for seed, path in paths.items():
        rows += [{"arm": "a", "seed": seed, "round": k, "m": m} for k, m in enumerate(path)]
    low = since_best(Records(rows), "a", "m", lowest=True)
    turned = [{**row, "m": -row["m"]} for row in rows]
    high = since_best(Records(turned), "a", "m", lowest=False)
    assert low.n == 3
    assert (low.value, high.value) == pytest.approx((1 / 3, -1 / 3))  # not 1, as each by itself
    assert low.value < low.half


def test_z_counts_the_standard_error_of_a_reference():
    """A reference of a tenth of the replicates lies within what chance allows."""
    row = Quantity("", 0.72, 0.0102, 4_000, 0.741)
    assert z(row) == "-4.0"
    assert z(row._replace(expected_error=0.0165)) == "-1.2"


@pytest.mark.parametrize("name", [*PAGES, "README"])
def test_no_page_says_that_a_difference_is_zero(name):
    """An interval that holds zero does not tell so: docs/method.md."""
    page = (RESULTS / f"{name}.md").read_text()
    assert re.findall(r"does not (?:matter|explain)|makes no difference", prose(page)) == []
