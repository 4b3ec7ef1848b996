"""The page of a comparison, opened in Chromium; and its plots, number by number."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import Browser
from comparisons import make_cell, make_comparison
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.support.wait import WebDriverWait

from focusgym.runs.comparison import figures
from focusgym.runs.comparison.page import comparison_page
from focusgym.runs.comparison.summary import Cell, summarise
from focusgym.runs.comparison.table import number, span

REFERENCE = "increment_over_random"
TEXTS = ".plot text, figcaption, h1, h2, .soft, .key button, dt, dd, li"
# What every plot should have drawn: lines and marks of all its traces.
DRAWN = """
return [...document.querySelectorAll(".plot")].map((place) => [
  place.data.length,
  place.querySelectorAll("svg .scatterlayer .trace").length,
  place.querySelectorAll("svg .scatterlayer .trace path").length,
  place.querySelector("svg.main-svg").getBoundingClientRect().width,
]);
"""
# Texts in plots that reach out of them.
CUT_OFF = """
const found = [];
for (const place of document.querySelectorAll(".plot")) {
  const room = place.getBoundingClientRect();
  for (const text of place.querySelectorAll("text")) {
    const box = text.getBoundingClientRect();
    if (box.left < room.left - 1 || box.right > room.right + 1 || box.bottom > room.bottom + 1)
      found.push(text.textContent);
  }
}
return found;
"""


@pytest.fixture(scope="module")
def cells() -> list[Cell]:
    return make_comparison()


@pytest.fixture(scope="module")
def summary(cells: list[Cell]) -> dict[str, Any]:
    return summarise(cells, REFERENCE, resamples=200)


@pytest.fixture(scope="module")
def page(
    tmp_path_factory: pytest.TempPathFactory, cells: list[Cell], summary: dict[str, Any]
) -> Path:
    path = tmp_path_factory.mktemp("comparison") / "compare.html"
    settings = {"cache": "outputs/quickstart/cache", "fingerprint": "0123456789abcdef" * 4}
    settings |= {"seeds": [0, 1, 2, 3, 4], "runs": ["/home/someone/runs/a", "/home/someone/runs/b"]}
    comparison_page(path, summary, cells, settings)
    return path


def open_drawn(browser: Browser, path: Path, width: int = 1280, *, dark: bool = False) -> None:
    browser.open(path, width, dark=dark)
    places = len(browser.texts(".plot"))
    WebDriverWait(browser.driver, 60, 0.1).until(
        lambda _: browser.run("return document.documentElement.dataset.drawn") == str(places)
    )


def resize_drawn(browser: Browser, width: int) -> None:
    """Give the window another width, and wait until the plots have followed."""
    browser.resize(width)
    fit = """
    return [...document.querySelectorAll(".plot")].every((place) => Math.abs(
      place.querySelector("svg.main-svg").getBoundingClientRect().width - place.clientWidth) < 2);
    """
    WebDriverWait(browser.driver, 10, 0.1).until(lambda _: browser.run(fit))


def brightness(browser: Browser) -> float:
    """Mean of red, green and blue behind the first plot."""
    script = "return getComputedStyle(document.querySelector('.plot .main-svg')).backgroundColor"
    color = browser.run(script).partition("(")[2].rstrip(")")
    return sum(float(part) for part in color.split(",")[:3]) / 3


def follow(browser: Browser, *, dark: bool) -> None:
    """Change to a dark or a light scheme, and wait until the plots have followed."""
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    WebDriverWait(browser.driver, 10, 0.1).until(lambda _: (brightness(browser) < 100) == dark)


@pytest.fixture
def wide(browser: Browser, page: Path) -> Browser:
    """The page at 1280 px in the light scheme, where tests leave it so: loaded once for all."""
    here = browser.driver.current_url == page.resolve().as_uri()
    if here and browser.run("return innerWidth") == 1280:
        follow(browser, dark=False)
    else:
        open_drawn(browser, page)
    return browser


@pytest.mark.parametrize(("width", "dark"), [(420, True), (1280, False)])
def test_the_page_draws_everything_and_asks_no_network(
    browser: Browser, page: Path, width: int, dark: bool
) -> None:
    """In the scheme that it was opened in, and in the other one, which plots follow."""
    open_drawn(browser, page, width, dark=dark)
    for now_dark in (dark, not dark):
        follow(browser, dark=now_dark)
        assert (brightness(browser) > 200) != now_dark
        browser.check(TEXTS)
        plots = browser.run(DRAWN)
        assert len(plots) == 3 * 3 + 2 + 1 + 2 * 2
        for traces, drawn, paths, wide in plots:
            assert traces == drawn
            assert paths >= traces
            assert 250 < wide <= width
        assert browser.run(CUT_OFF) == []


def test_the_page_says_what_the_summary_says(
    wide: Browser, page: Path, summary: dict[str, Any]
) -> None:
    browser = wide
    assert browser.texts(".lines li") == [*summary["conclusions"], *summary["notes"]]
    rows = browser.run(
        "return [...document.querySelectorAll('tbody tr')].filter((r) => r.cells.length > 1)"
        ".map((r) => [...r.cells].map((c) => c.textContent.trim()))"
    )
    expected = summary["rows"] + summary["overall"]
    assert [row[0] for row in rows] == [row["label"] for row in expected]
    for shown, row in zip(rows, expected, strict=True):
        assert shown[1] == row["verdict"]
        difference = (row["difference"] or {}).get("final_accuracy", {})
        if row["verdict"] == "reference":
            assert shown[2:5] == ["–"] * 3
        else:
            assert shown[2] == number(difference["value"], signed=True)
            for text, over in zip(shown[3:5], ("over_videos", "over_seeds_t"), strict=True):
                assert text == span(difference[over], signed=True)
        assert shown[5].startswith(f"{100 * row['final_accuracy']['value']:.1f}")
        assert shown[10] == f"{1000 * row['gmacs_per_video']:.4g}"
        assert shown[11] == str(len(row["seeds"]))
    assert "MMACs per video" in browser.texts("#table thead th")
    assert "outputs/quickstart/cache" in browser.texts(".settings dd")
    assert '["…/runs/a", "…/runs/b"]' in browser.texts(".settings dd"), "no absolute path"
    assert "someone" not in page.read_text()


def test_the_verdict_and_what_decides_it_are_in_sight(wide: Browser) -> None:
    """At 1280 px the whole table, at 420 px the verdict beside the name."""
    table = "const table = document.querySelector('#table .scroll');"
    widths = f"{table} return [table.scrollWidth, table.clientWidth]"
    ends = f"""{table}
    const outside = (e) => e.getBoundingClientRect().right > table.getBoundingClientRect().right;
    return [...document.querySelectorAll('tbody td.so')].filter(outside).length;
    """
    browser = wide
    needed, room = browser.run(widths)
    assert needed <= room
    assert browser.run(ends) == 0
    resize_drawn(browser, 420)
    assert browser.run(ends) == 0
    resize_drawn(browser, 1280)


def test_a_design_is_hidden_and_shown_in_the_plots_of_its_section(wide: Browser) -> None:
    browser = wide
    visible = """
    const section = document.querySelector(arguments[0]).closest("section");
    return [...section.querySelectorAll(".plot")].map((place) =>
      place.data.filter((t) => t.legendgroup === "confidence" && t.visible !== false).length);
    """
    button = '.key button[data-design="confidence"]'
    before = browser.run(visible, button)
    assert min(before) > 0
    for expected, pressed in (([0] * len(before), "false"), (before, "true")):
        browser.run("document.querySelector(arguments[0]).click()", button)
        assert browser.run(visible, button) == expected
        pressed_now = "return document.querySelector(arguments[0]).getAttribute('aria-pressed')"
        assert browser.run(pressed_now, button) == pressed


def test_pointing_at_a_mark_shows_its_numbers_and_nothing_offers_an_upload(
    wide: Browser, summary: dict[str, Any]
) -> None:
    browser = wide
    place = browser.driver.find_elements("css selector", ".plot")[3]  # differences, first group
    browser.run("arguments[0].scrollIntoView({block: 'center'})", place)
    marks = place.find_elements("css selector", ".points path")
    ActionChains(browser.driver).move_to_element(marks[-1]).perform()
    WebDriverWait(browser.driver, 10).until(lambda _: browser.texts(".hoverlayer text"))
    (row,) = (
        r for r in summary["rows"] if (r["label"], r["patch_px"]) == ("adafocus_plus η=1", 28)
    )
    by = row["difference"]["final_accuracy"]["value"]
    (text,) = browser.texts(".hoverlayer text")
    assert text.startswith(
        f"{row['label']}: {row['verdict']}{number(by, signed=True)} points95 % over videos"
    )
    titles = browser.run(
        "return [...document.querySelectorAll('.modebar-btn')].map((b) => b.dataset.title)"
    )
    assert titles
    assert not {title for title in titles if "hare" in title or "loud" in title}
    assert browser.errors() == []


def test_odd_names_and_thin_data_make_a_page(browser: Browser, tmp_path: Path) -> None:
    """One seed, missing groups, other videos, no learning curve, names that look like HTML."""
    odd = "</script><b>odd & long_name of a run</b>"
    cells = [
        make_cell("a", 0, group="p28_7x7"),
        make_cell("a", 0, group="p36_7x7"),
        make_cell(odd, 0, group="p36_7x7", draws=1),
        make_cell("elsewhere", 0, group="p28_7x7", prefix="clip"),
        make_cell("central", 0, group="p28_7x7", kind="fixed", draws=2),
    ]
    path = tmp_path / "compare.html"
    comparison_page(path, summarise(cells, "a", resamples=50), cells, {odd: odd})
    open_drawn(browser, path)
    for width in (1280, 420):
        resize_drawn(browser, width)
        browser.check("figcaption, h1, h2, .soft, .key button, dt, dd, li")
    assert odd in browser.texts("tbody th")
    assert odd in browser.texts(".settings dd")
    assert browser.texts("b") == []
    titles = browser.texts("main h2")
    assert "Learning: return" not in titles
    assert "Difference to a" in titles


def test_a_reference_alone_makes_a_page_without_differences(
    browser: Browser, tmp_path: Path
) -> None:
    cells = [make_cell("a", seed, learns=True) for seed in range(2)]
    path = tmp_path / "compare.html"
    comparison_page(path, summarise(cells, "a", resamples=50), cells, {})
    open_drawn(browser, path)
    browser.check(TEXTS)
    assert "Difference to a" not in browser.texts("main h2")
    assert all(traces == drawn for traces, drawn, _, _ in browser.run(DRAWN))


def test_the_page_says_where_seeds_and_videos_differ(browser: Browser, tmp_path: Path) -> None:
    groups = {"p28_7x7": 50, "p36_7x7": 20}
    cells = [
        make_cell(design, seed, group=group, n=n, draws=draws)
        for group, n in groups.items()
        for draws, (design, seeds) in enumerate({"a": (0, 1, 2), "b": (1, 2, 3)}.items())
        for seed in seeds
    ]
    cells.append(make_cell("elsewhere", 0, group="p36_7x7", n=20))
    path = tmp_path / "compare.html"
    comparison_page(path, summarise(cells, "a", resamples=50), cells, {})
    open_drawn(browser, path)
    browser.check(TEXTS)
    assert browser.texts("header .soft") == [
        "3 policies in p28_7x7, p36_7x7; other test videos in other groups: 50 in p28_7x7, "
        "20 in p36_7x7"
    ]
    seeds = "return [...document.querySelectorAll('tbody td:last-child')].map((c) => c.innerText)"
    shown = [text.split() for text in browser.run(seeds)]
    both = [["3"], ["3", "2", "compared"]]
    assert shown == [*both, *both, ["1"], *both]
    (text,) = (text for text in browser.texts(".soft") if text.startswith("Chance that a run"))
    assert "ties count half" in text
    assert "another seed" not in text


def rows_of(summary: dict[str, Any], group: str = "p28_7x7") -> list[dict[str, Any]]:
    return [row for row in summary["rows"] if row["group"] == group]


def in_mmacs(gmacs: list[float]) -> Any:
    return pytest.approx([1000 * each for each in gmacs])


def lines(figure: Any, design: str) -> list[Any]:
    return [t for t in figure.data if t.legendgroup == design and "lines" in t.mode and t.name]


def test_accuracy_is_drawn_against_what_was_spent(summary: dict[str, Any]) -> None:
    figure = figures.against_compute(summary, rows_of(summary))
    for row in rows_of(summary):
        drawn_lines = [
            t for t in lines(figure, row["design"]) if list(t.x) == in_mmacs(row["gmacs_by_step"])
        ]
        if row["kind"] == "bound":
            assert drawn_lines == []
            continue
        (line,) = drawn_lines
        np.testing.assert_allclose(line.y, 100 * np.array(row["accuracy_by_step"]["value"]))


def test_the_plane_has_a_curve_over_eta_per_patch_size(summary: dict[str, Any]) -> None:
    figure = figures.plane(summary)
    curves = lines(figure, "adafocus_plus")
    assert len(curves) == 2
    for curve, group, px in zip(curves, ("p28_7x7", "p36_7x7"), (28, 36), strict=True):
        rows = [r for r in rows_of(summary, group) if r["kind"] == "plus"]
        assert list(curve.x) == in_mmacs(sorted(r["gmacs_per_video"] for r in rows))
        np.testing.assert_allclose(curve.y, [100 * r["final_accuracy"]["value"] for r in rows])
        ends = [100 * r["final_accuracy"]["interval"][1] for r in rows]
        np.testing.assert_allclose(np.add(curve.y, curve.error_y.array), ends)
        assert curve.text[0] == f"{px} px, η=0.25"
    (line,) = lines(figure, REFERENCE)
    assert len(line.x) == 2  # the patch sizes
    assert lines(figure, "oracle") == []
    (grey,) = lines(figure, "random")
    assert grey.line.color == "#808080"


def test_differences_have_both_intervals(summary: dict[str, Any]) -> None:
    figure = figures.differences(summary, rows_of(summary))
    row = next(r for r in rows_of(summary) if r["label"] == "confidence")
    difference = row["difference"]["final_accuracy"]
    bar, dot = (t for t in figure.data if t.y[0] == "confidence")
    np.testing.assert_allclose(bar.x, 100 * np.array(difference["over_videos"]))
    np.testing.assert_allclose(dot.x, [100 * difference["value"]])
    low, high = 100 * np.array(difference["over_seeds_t"])
    np.testing.assert_allclose(dot.x[0] - dot.error_x.arrayminus[0], low)
    np.testing.assert_allclose(dot.x[0] + dot.error_x.array[0], high)
    left, right = figure.layout.xaxis.range
    assert left < min(low, bar.x[0], 0)
    assert right > max(high, bar.x[1], 0)
    names = {t.y[0] for t in figure.data}
    assert REFERENCE not in names
    assert "random" not in names


def test_learning_curves_are_means_over_seeds_and_neighbouring_rollouts(
    cells: list[Cell], summary: dict[str, Any]
) -> None:
    ours = [c for c in cells if (c.design, c.group) == ("padding", "p28_7x7")]
    figure = figures.learning_curves(summary, ours, "correct", "right, %", 100)
    (line,) = lines(figure, "padding")
    curves = [c.curve for c in ours if c.curve is not None]
    np.testing.assert_allclose(line.y, 100 * np.mean([c["correct"] for c in curves], axis=0))
    np.testing.assert_allclose(line.x, curves[0]["steps"])
    # A run that stopped early shortens the mean; rollouts without a finished episode do not count.
    curve = curves[0].iloc[:20].copy()
    curve.loc[0, "correct"] = np.nan
    short = [replace(ours[0], curve=curve), ours[1]]
    figure = figures.learning_curves(summary, short, "correct", "right, %", 100)
    (line,) = lines(figure, "padding")
    expected = (curve["correct"][1:20] + curves[1]["correct"][1:20]) / 2
    np.testing.assert_allclose(line.y, 100 * expected)


def test_long_learning_curves_are_thinned() -> None:
    cell = make_cell("a", learns=True)
    assert cell.curve is not None
    steps = np.arange(600)
    curve = cell.curve.loc[np.repeat(0, 600)].assign(steps=steps, correct=steps / 600)
    cell = replace(cell, curve=curve)
    summary = summarise([cell], "a", resamples=50)
    figure = figures.learning_curves(summary, [cell], "correct", "right", 1)
    (line,) = lines(figure, "a")
    np.testing.assert_allclose(line.y, (steps / 600).reshape(60, 10).mean(axis=1))


def test_many_designs_look_different() -> None:
    cells = [make_cell(f"design {i}") for i in range(14)]
    cells += [make_cell(f"fixed {i}", kind="fixed") for i in range(4)]
    styles = figures.styles(summarise(cells, "design 0", resamples=50))
    assert len(set(styles.values())) == 18
    assert {style.color for name, style in styles.items() if "fixed" in name} == {"#808080"}
