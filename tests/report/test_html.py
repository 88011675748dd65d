"""The page holds all that it needs, shows text as it is, and fits a phone, a desk and paper."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from veriloop.report import Picture, Section, Table, as_html, section, write
from veriloop.report.__main__ import main

RESULTS = Path(__file__).parents[2] / "docs" / "results"
NO_END = {"meta", "link", "img", "br", "path", "use"}
OUTSIDE = re.compile(r"(src|href)=\"(?!#|data:)|url\((?!#)|@import")


class Tags(HTMLParser):
    """Counts tags, and holds that each is closed."""

    def __init__(self):
        super().__init__()
        self.open = []
        self.seen = []

    def handle_starttag(self, tag, attributes):
        self.seen.append(tag)
        if tag not in NO_END:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.seen.append(tag)

    def handle_endtag(self, tag):
        if tag not in NO_END:
            assert self.open.pop() == tag


@pytest.fixture(scope="module")
def page(hostile):
    return as_html("Report", [section(hostile)])


def test_it_is_whole_and_asks_for_nothing_from_outside(page):
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    assert not OUTSIDE.search(re.sub(r"xmlns(:xlink)?=\"[^\"]*\"", "", page))
    assert "script" not in tags.seen and "link" in tags.seen


def test_text_is_shown_and_never_obeyed(page):
    """An arm named as a script, with signs of mathematics, of tables, of comments and of code."""
    assert "<script" not in page
    assert "&lt;script&gt;window.hurt = 1&lt;/script&gt;--&gt; $\\frac|" in page
    hurt = "<img src=x onerror=1>"
    made = [hurt, Table(hurt, [hurt], [[hurt]]), Picture(hurt, png=b"1"), Section(hurt, badge=hurt)]
    assert as_html(hurt, [Section(hurt, made)]).count("<img") == 1  # the picture


def test_the_same_runs_give_the_same_page(hostile, page):
    assert as_html("Report", [section(hostile)]) == page


def test_both_formats_have_the_same_tables(study, tmp_path):
    web = write([study], tmp_path / "report.html").read_text()
    text = write([study], tmp_path / "report.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(rows) == web.count("<tr>") > 20


def test_the_command_line_refuses_in_one_sentence(study, tmp_path):
    for arguments, said in (
        ([str(study), "--out", str(tmp_path / "report.pdf")], r"must end in \.html or \.md"),
        ([str(tmp_path)], r"no readable run\.json; name the folder of a run"),
        ([str(study), "--out", str(study / "run.json" / "a.md")], r"--out: cannot write"),
    ):
        with pytest.raises(SystemExit, match=said):
            main(arguments)


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_it_fits_a_phone_and_a_desk_by_day_and_by_night(page, browser, width, scheme):
    """No side scrolling but inside tables, no script of a name has run, and text stands out."""
    with browser(width=width, scheme=scheme) as tab:
        tab.set_content(page)
        assert tab.evaluate("document.documentElement.scrollWidth") == width
        assert tab.evaluate("window.hurt === undefined")
        inks = tab.evaluate(
            "[document.body, document.querySelector('svg text')].map(e => {"
            "const s = getComputedStyle(e); return e === document.body ? s.color : s.fill; })"
        )
        assert inks[0] == inks[1]  # drawings write in the colour of the page
        sizes = tab.evaluate(
            "[...document.querySelectorAll('svg text')].map(t => t.getBoundingClientRect().height)"
        )
        assert min(sizes) > 8


@pytest.mark.slow
def test_on_paper_nothing_is_folded_and_all_is_black_on_white(browser):
    """By night too."""
    table = Table("cells", ["a"], [["seen"]])
    two = [Section("first", [table], folded=True), Section("second", [table])]
    with browser(width=700, scheme="dark") as tab:
        tab.set_content(as_html("Report", two))
        assert not tab.locator("table").first.is_visible()
        assert tab.locator("nav").is_visible()
        tab.emulate_media(media="print", color_scheme="dark")
        paper = tab.evaluate("getComputedStyle(document.body).backgroundColor")
        assert paper == "rgb(255, 255, 255)"
        assert tab.locator("table").first.is_visible()
        assert not tab.locator("nav").is_visible()


def test_runs_of_scripts_are_unfolded_where_nothing_stands_before_them(tmp_path):
    """A page of runs alone would be a list of headings; under a table of claims they are its evidence."""
    folder = RESULTS / "reward_weighting"
    alone = write([folder], tmp_path / "alone.html").read_text()
    below = write([folder], tmp_path / "below.html", before=[Section("claims")]).read_text()
    assert '<section id="section-1">' in alone and '<details id="section-2">' in below
    assert "<summary><h3>What the run ended with: 89 numbers" in alone  # so many are folded
