"""The explorer: its numbers are those of `veriloop.linear`, and anybody can use the page."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from scipy.special import erfc

from veriloop.explorer import page
from veriloop.explorer.__main__ import main
from veriloop.linear import Windows, expected_path, theory

DIM = 8
SLACK = np.sqrt(2 / np.pi)
SHOWN = ("error-start", "error-one", "error-last", "error-none", "plateau", "acceptance")


def test_the_page_asks_for_nothing_from_outside():
    """No file, no script, no font, no address but the name space of SVG."""
    text = page()
    assert not re.search(r"/\* (style|theory|page) \*/", text)
    assert set(re.findall(r"https?://[^\s\"']+", text)) == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"<(link|script|img)[^>]*(src|href)=\"(?!data:)", text)


def test_the_command_writes_the_page_and_refuses_a_place_that_cannot_be_written(tmp_path, capsys):
    out = tmp_path / "deep" / "explorer.html"
    main(["--out", str(out)])
    assert out.read_text(encoding="utf-8") == page()
    assert capsys.readouterr().out.strip() == str(out)
    with pytest.raises(SystemExit, match=r"--out: cannot write .*; name another file"):
        main(["--out", str(out / "inside")])


@pytest.fixture(scope="module")
def opened(browser):
    """The page in a browser, at its own settings."""
    with browser() as tab:
        tab.set_content(page())
        yield tab


def settings():
    """A grid over the singular value, the offset, the half width and the kept rows."""
    found = []
    for rows in (2, 100, 1000):
        for width in (SLACK, 1.3, 2.5, 5.0):
            for center in (0.0, 0.05, 0.3, 1.0, 4.0):
                for kept in (5, 2000):
                    found.append([float(np.sqrt(rows)), center, float(width), kept])
    return found


def asked(tab, expression, grid):
    """Evaluate an expression of mu, c, w and n at each place of a grid."""
    code = f"grid => grid.map(([mu, c, w, n]) => {expression})"
    return np.array(tab.evaluate(code, grid))


def close(got, wanted):
    return np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-12)


@pytest.mark.slow
def test_erfc_has_all_its_digits(opened):
    x = np.linspace(-7, 26, 300)
    got = opened.evaluate("x => x.map(Theory.erfc)", x.tolist())
    np.testing.assert_allclose(got, erfc(x), rtol=1e-12)


@pytest.mark.slow
def test_one_round_is_that_of_the_library(opened):
    """120 settings: the error after one round, the improvement, and where it turns."""
    grid = settings()
    same = [np.full(DIM, mu) for mu, *_ in grid]
    rest = [row[1:] for row in grid]
    wanted = [theory.one_round_mse(mu, *row) for mu, row in zip(same, rest, strict=True)]
    close(asked(opened, f"Theory.oneRoundMse(mu, c, w, n, {DIM})", grid), wanted)
    wanted = [theory.log_improvement(mu, *row) for mu, row in zip(same, rest, strict=True)]
    close(asked(opened, "Theory.logImprovement(mu, c, w, n)", grid), wanted)


@pytest.mark.slow
def test_the_frontier_and_the_plateau_are_those_of_the_library(opened):
    few = [row for row in settings() if row[1] == 0.3]
    direction = np.full(DIM, DIM**-0.5)
    wanted = []
    for mu, _, width, kept in few:
        wanted.append(theory.break_even_bias(np.full(DIM, mu), direction, width, kept))
    assert min(wanted) == 0 < max(wanted)
    close(asked(opened, f"Theory.breakEvenBias(mu, w, n, {DIM})", few), wanted)
    wanted = [theory.plateau(width, kept, DIM) for *_, width, kept in few]
    close(asked(opened, f"Theory.plateau(w, n, {DIM})", few), wanted)


@pytest.mark.slow
def test_the_error_by_round_is_that_of_the_library(opened):
    """Verified at growing sizes, where the law of the estimate is carried on; and without verifier."""
    grid = settings()[::2]
    sizes = [20, 40, 400]
    got = asked(opened, f"Theory.errorByRound(mu, c, w, {sizes}, {DIM})", grid)
    none = asked(opened, f"Theory.unfilteredMse(mu, {sizes}, {DIM})", grid)
    for row, errors, walk in zip(grid, got, none, strict=True):
        mu, center, width, _ = row
        windows = Windows(np.array([center - width]), np.array([center + width]))
        path = expected_path([mu], windows, sizes)
        close(errors, DIM * (path.mean**2 + path.variance)[:, 0])
        close(walk, theory.unfiltered_mse(np.full(DIM, mu), sizes))


def numbers(tab):
    """The numbers that the page shows."""
    tab.evaluate("new Promise(requestAnimationFrame)")
    tab.evaluate("new Promise(requestAnimationFrame)")
    code = "names => names.map(name => Number(document.getElementById(name).dataset.value))"
    return dict(zip(SHOWN, tab.evaluate(code, list(SHOWN)), strict=True))


def moved(tab, name, value):
    """Move a slider to a value of its own scale, as a hand does."""
    code = """([name, value]) => {
        const input = document.getElementById(name);
        input.value = value;
        input.dispatchEvent(new Event("input", { bubbles: true }));
    }"""
    tab.evaluate(code, [name, value])


@pytest.mark.slow
def test_what_the_page_shows_follows_the_sliders(opened):
    """Bias 0.5, radius 1, noise 2, growing sizes; all in the units of the sliders."""
    for name, value in {"bias": 0.5, "radius": 1, "noise": 2, "dim": 4, "rounds": 10}.items():
        moved(opened, name, value)
    opened.get_by_label("growing up to the last round").check()
    opened.wait_for_function("!document.getElementById('last').disabled")  # at the next frame
    found = numbers(opened)
    rows, first, last = (
        float(opened.locator(f"output[for={name}]").inner_text())
        for name in ("rows", "kept", "last")
    )
    mu = np.full(4, np.sqrt(rows))
    width = 1 / 2 + SLACK
    center = 0.5 / 2 / np.sqrt(4)
    sizes = np.floor(np.linspace(first, last, 10) + 0.5).astype(int)
    windows = Windows(np.full(4, center - width), np.full(4, center + width))
    path = expected_path(mu, windows, sizes.tolist())
    errors = 4 * np.sum(path.mean**2 + path.variance, axis=1)
    wanted = {
        "error-start": 4 * np.sum(mu**-2),
        "error-one": 4 * theory.one_round_mse(mu, center, width, sizes[0]),
        "error-last": errors[-1],
        "error-none": 4 * theory.unfiltered_mse(mu, sizes)[-1],
        "plateau": 0.5**2 + 4 * theory.plateau(width, sizes[-1], 4),
        "acceptance": path.acceptance[0, 0],
    }
    assert list(found) == list(wanted)
    close(list(found.values()), list(wanted.values()))
    opened.get_by_role("button", name="Set all back").click()
    opened.wait_for_function("document.getElementById('bias').value === '0.1'")
    opened.wait_for_function("document.getElementById('last').disabled")


@pytest.mark.slow
def test_the_frontier_is_drawn_anew_when_a_slider_stands_still(browser):
    """With more kept rows more pays; a change of the bias alone leaves the line as it is.

    The page is a new one: what an earlier test moved may still be about to be drawn.
    """
    line = "document.querySelector('#frontier path.verified').getAttribute('d')"
    with browser() as tab:
        tab.set_content(page())
        numbers(tab)
        before = tab.evaluate(line)
        moved(tab, "bias", 0.2)
        numbers(tab)
        assert tab.evaluate(line) == before
        moved(tab, "kept", 120)
        tab.wait_for_function(f"before => {line} !== before", arg=before)


@pytest.mark.slow
def test_a_keyboard_is_enough(opened):
    """Tab goes through every slider in order, and arrows move them; a change is told aloud."""
    opened.locator("#bias").focus()
    before = numbers(opened)
    told = opened.locator("output[for=bias]").inner_text()
    opened.keyboard.press("ArrowRight")
    after = numbers(opened)
    now = float(opened.locator("output[for=bias]").inner_text())
    assert now == pytest.approx(float(told) + 0.01)
    assert after["error-one"] != before["error-one"]
    reached = []
    for _ in range(9):
        reached.append(opened.evaluate("document.activeElement.id || document.activeElement.type"))
        opened.keyboard.press("Tab")
    wanted = ["bias", "radius", "noise", "rows", "dim", "kept", "radio", "rounds", "reset"]
    assert reached == wanted
    assert opened.locator("[aria-live=polite]").count() == 1
    opened.locator("#rows").focus()
    opened.keyboard.press("End")
    numbers(opened)
    assert opened.locator("output[for=rows]").inner_text() == "1000"
    assert opened.locator("#rows").get_attribute("aria-valuetext") == "1000"


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_it_fits_a_phone_and_a_desk_by_day_and_by_night(browser, width, scheme):
    """Nothing is wider than the screen, text stands out from its ground, and the console is empty."""
    with browser(width=width, scheme=scheme) as tab:
        tab.set_content(page())
        assert tab.evaluate("document.documentElement.scrollWidth") == width
        ink, paper = tab.evaluate(
            "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
        )
        assert (brightness(paper) > brightness(ink)) == (scheme == "light")
        assert abs(brightness(paper) - brightness(ink)) > 150
        assert tab.locator(".chart svg").count() == 3
        sizes = tab.evaluate(
            "[...document.querySelectorAll('.chart text')].map(t => t.getBBox().height)"
        )
        assert min(sizes) > 10
        places = json.loads(tab.evaluate(OUTSIDE))
        assert places == []


@pytest.mark.slow
def test_on_paper_it_is_black_on_white(browser):
    """By night too, as dark ground costs ink."""
    with browser(width=700, scheme="dark") as tab:
        tab.set_content(page())
        tab.emulate_media(media="print", color_scheme="dark")
        paper = tab.evaluate("getComputedStyle(document.body).backgroundColor")
        assert paper == "rgb(255, 255, 255)"
        assert not tab.locator("button").is_visible()


OUTSIDE = """(() => {
    const wrong = [];
    for (const text of document.querySelectorAll(".chart text")) {
        const box = text.getBoundingClientRect();
        const frame = text.ownerSVGElement.getBoundingClientRect();
        if (box.left < frame.left - 1 || box.right > frame.right + 1) wrong.push(text.textContent);
    }
    return JSON.stringify(wrong);
})()"""


def brightness(color):
    return sum(map(int, re.findall(r"\d+", color)[:3])) / 3


@pytest.mark.slow
def test_no_setting_breaks_the_page(opened):
    """The ends of all sliders at once: every number stays finite, and every path is drawn."""
    for bias, noise, sizes in (
        ("min", "min", "min"),
        ("max", "min", "max"),
        ("max", "max", "min"),
        ("min", "max", "max"),
    ):
        ends = {"bias": bias, "radius": noise, "noise": noise, "rows": sizes}
        ends |= {"kept": sizes, "dim": bias, "rounds": sizes}
        for name, end in ends.items():
            moved(opened, name, opened.locator(f"#{name}").get_attribute(end))
        found = numbers(opened)
        assert np.isfinite(list(found.values())).all(), ends
        drawn = opened.evaluate(
            "[...document.querySelectorAll('.chart path')].map(p => p.getAttribute('d'))"
        )
        assert len(drawn) > 6
        assert not [path for path in drawn if "NaN" in path or "Infinity" in path], ends
