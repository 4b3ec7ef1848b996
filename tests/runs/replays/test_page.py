"""The pages of ``replay`` in a real browser: keys, slider, policies, layout, no network."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from browser import Browser, open_browser
from selenium.webdriver.common.keys import Keys

from focusgym.runs.configs.replay import ReplayConfig
from focusgym.runs.pages.page import as_data, write_page
from focusgym.runs.replay import replay

ROWS = (81, 90, 99)
TEXTS = (
    "h1, h2, h3, p:not(.hidden), button, dt, dd, text, small, figcaption, td, th, a, output, "
    ".legend span, .reason, .name"
)
NASTY = '</script><img src=x onerror="document.title=1"> & <b>.mp4'


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as found:
        yield found


@pytest.fixture(scope="module")
def shown(
    tiny_run: tuple[Path, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    """π′ beside π; the name of the second video is one to break a page with."""
    run, root = tiny_run[0], tmp_path_factory.mktemp("pages")
    shutil.copytree(run / "cache", root / "cache")
    table = pd.read_csv(root / "cache" / "videos.csv")
    table.loc[90, "name"] = NASTY
    table.to_csv(root / "cache" / "videos.csv", index=False)
    config = ReplayConfig(
        root / "out",
        run / "policy_plus",
        run / "policy",
        root / "cache",
        run / "classifier",
        videos=ROWS,
        boxes=run / "data" / "boxes.csv",
    )
    return root / "out", replay(config)


@pytest.fixture
def page(browser: Browser, shown: tuple[Path, dict[str, Any]]) -> Browser:
    browser.open(shown[0] / "index.html")
    return browser


def test_it_shows_the_numbers_of_the_frame(
    page: Browser, shown: tuple[Path, dict[str, Any]]
) -> None:
    video = shown[1]["videos"][0]
    for t in range(3):
        assert page.texts("#where") == [f"frame {t + 1} of {shown[1]['steps']}"]
        for i, episode in enumerate(video["episodes"]):
            side = f'[data-policy="{i + 1}"]'
            facts = dict(zip(page.texts(f"{side} dt"), page.texts(f"{side} dd"), strict=True))
            mark = "✓" if episode["correct"][t] else "✗"
            sure = f"{100 * episode['certainties'][t]:.0f} %"
            assert facts["prediction"] == f"{mark} {episode['predictions'][t]}, {sure}"
            looks = sum(episode["looked"][: t + 1])
            assert facts["frames looked at"] == f"{looks} of {t + 1} so far"
            shown_rewards = {"reward r": "location_rewards", "reward r′": "skip_rewards"}
            for term, key in shown_rewards.items():
                assert (term in facts) == (episode[key] is not None)
                if term in facts:
                    reward = float(facts[term].replace("−", "-"))
                    assert reward == pytest.approx(episode[key][t], abs=6e-4)
            cost = float(facts["cost so far"].split()[0])
            assert cost == pytest.approx(episode["gmacs"][t], rel=6e-3)
            box = f"{side} .chosen"
            drawn = page.run(
                "return [...document.querySelectorAll(arguments[0])].map((e) => "
                "['x', 'y', 'width', 'height'].map((name) => Number(e.getAttribute(name))))",
                box,
            )
            left, top, right, bottom = episode["boxes_px"][t]
            size = [left, top, right - left, bottom - top]
            assert drawn == ([size] if episode["looked"][t] else [])
            said = page.texts(f"{side} .said")
            assert said == ([] if episode["looked"][t] else ["skipped"])
        page.press(Keys.ARROW_RIGHT)
    page.check(TEXTS)


def test_keys(page: Browser, shown: tuple[Path, dict[str, Any]]) -> None:
    steps = shown[1]["steps"]

    def where() -> tuple[int, int]:
        frame = page.run("return Number(document.getElementById('slider').value)")
        current = page.run(
            "return document.querySelector('[data-video][aria-current=true]').dataset.video"
        )
        return int(current), int(frame)

    assert where() == (0, 0)
    page.press(Keys.ARROW_LEFT)
    assert where() == (0, 0), "before the first frame there is none"
    page.press(*[Keys.ARROW_RIGHT] * (steps + 2))
    assert where() == (0, steps - 1)
    page.press(Keys.ARROW_DOWN)
    assert where() == (0, steps - 1), "left to the browser, which scrolls"
    page.press("n")
    assert where() == (1, 0)
    page.press("N", "n")  # as with Caps Lock
    assert where() == (2, 0)
    page.press("p", "p", "p")
    assert where() == (0, 0)
    for key, sides in (("1", ["1"]), ("2", ["2"]), ("b", ["1", "2"])):
        page.press(key)
        script = "return [...document.querySelectorAll('.side')].map((e) => e.dataset.policy)"
        assert page.run(script) == sides
        assert page.texts('[data-view][aria-pressed="true"]') == [
            "Both" if key == "b" else shown[1]["policies"][int(key) - 1]["name"]
        ]
    page.press(" ")
    deadline = time.monotonic() + 10
    while where() == (0, 0) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert where()[1] > 0, "space plays"
    page.press(" ")
    stopped = where()
    time.sleep(1)
    assert where() == stopped
    page.check(TEXTS)


def test_the_heat_map_is_the_probabilities(
    page: Browser, shown: tuple[Path, dict[str, Any]]
) -> None:
    k = shown[1]["grid"] ** 2
    assert not page.texts(".cell")
    for key in ("probabilities", "alternatives"):
        page.press("h")
        for i in (1, 2):
            values = shown[1]["videos"][0]["episodes"][i - 1][key][0][:k]
            cells = page.run(
                "return [...document.querySelectorAll(arguments[0])].map((e) => "
                "[Number(e.getAttribute('opacity')), e.textContent])",
                f'[data-policy="{i}"] .cell',
            )
            assert len(cells) == k
            assert max(range(k), key=lambda j: cells[j][0]) == values.index(max(values))
            order = sorted(range(k), key=lambda j: values[j])
            opacities = [cells[j][0] for j in order]
            assert opacities == sorted(opacities)
            assert cells[9][1] == f"row 2, column 3: {100 * values[9]:.1f} %"
        assert page.texts("#heatnote")[0].startswith("Orange")
    page.check(TEXTS)
    page.press("h")
    assert not page.texts(".cell")


def test_slider_and_clicks(page: Browser, shown: tuple[Path, dict[str, Any]]) -> None:
    page.run(
        "const s = document.getElementById('slider'); s.value = 2;"
        "s.dispatchEvent(new Event('input'))"
    )
    assert page.texts("#where")[0].startswith("frame 3 of")
    page.run("document.getElementById('slider').focus()")
    page.press(Keys.ARROW_RIGHT)
    assert page.texts("#where")[0].startswith("frame 4 of"), "one frame, not two"
    page.click("#row button:nth-child(2)")
    assert page.texts("#where")[0].startswith("frame 2 of")
    page.click('[data-video="2"]')
    assert page.texts("#why")[0].startswith(f"Row {ROWS[2]} of the cache")
    page.click('[data-heat="1"]')
    assert len(page.texts(".cell")) == 2 * shown[1]["grid"] ** 2
    page.click('[data-view="2"]')
    assert len(page.texts(".side")) == 1
    page.run("document.querySelector('#curve svg').scrollIntoView()")
    page.click("#curve svg")  # its middle
    assert page.texts("#where")[0] != "frame 2 of 6"
    page.check(TEXTS)


def test_the_frame_row_keeps_the_focus(page: Browser) -> None:
    page.run("document.querySelector('#row button:nth-child(2)').focus()")
    focused = "return [...document.getElementById('row').children].indexOf(document.activeElement)"
    page.press(Keys.ENTER)
    assert page.texts("#where")[0].startswith("frame 2 of")
    assert page.run(focused) == 1
    page.press(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert page.run(focused) == 3
    page.press("n")
    assert page.run(focused) == 0


def test_the_slider_keeps_its_keys(page: Browser) -> None:
    page.run("document.getElementById('slider').focus()")
    page.press(Keys.ARROW_UP, Keys.ARROW_UP, Keys.ARROW_DOWN)
    assert page.texts("#where")[0].startswith("frame 2 of")
    assert page.texts("#why")[0].startswith(f"Row {ROWS[0]} of the cache")


def test_frames_are_numbered_in_one_way(page: Browser, shown: tuple[Path, dict[str, Any]]) -> None:
    """From 1 to T, skipped ones too; the index in the file is a title."""
    steps, video = shown[1]["steps"], shown[1]["videos"][0]
    assert page.texts("#row small:first-of-type") == [f"frame {t + 1}" for t in range(steps)]
    titles = page.run("return [...document.querySelectorAll('#row button')].map((e) => e.title)")
    assert titles == [
        f"frame {index} of the file, counted from 0" for index in video["frame_indices"]
    ]


def test_what_is_drawn_is_also_said(page: Browser, shown: tuple[Path, dict[str, Any]]) -> None:
    """In the list who is right; of a chart its figures; of the rewards the price of a look."""
    video = shown[1]["videos"][0]
    names = [policy["name"] for policy in shown[1]["policies"]]
    ends = ["right" if each["correct"][-1] else "wrong" for each in video["episodes"]]
    said = f"({names[0]}: {ends[0]}, {names[1]}: {ends[1]})"
    assert said in page.texts('[data-video="0"]')[0]
    label = page.run("return document.querySelector('#curve svg').getAttribute('aria-label')")
    sure = video["episodes"][1]["confidences"]
    figures = dict(
        part.rsplit(" ", 1) for part in label.split(f"{names[1]}: ")[1].split(". ")[0].split(", ")
    )
    for word, value in (("first", sure[0]), ("last", sure[-1]), ("lowest", min(sure))):
        assert float(figures[word]) == pytest.approx(value, rel=6e-3)
    assert "1e-06 per pixel of the patch (the default, for" in page.texts("#price")[0]
    page.press("2")
    assert not page.run("return document.getElementById('priced').checkVisibility()")
    page.press("1")
    assert page.run("return document.getElementById('priced').checkVisibility()")
    page.check(TEXTS)


def test_axes_have_at_least_three_ticks(page: Browser) -> None:
    found = page.run("return ticks(-0.0055, 0.0035).values")
    assert found == pytest.approx([-0.004, -0.002, 0, 0.002])
    script = """
    const counts = [];
    for (let low = -3; low < 3; low += 0.37) for (let wide = 1e-4; wide < 50; wide *= 1.13) {
      counts.push(ticks(low, low + wide).values.length);
    }
    return [Math.min(...counts), Math.max(...counts)];
    """
    least, most = page.run(script)
    assert 3 <= least <= most <= 8


def test_skipped_frames_are_dimmed(page: Browser, shown: tuple[Path, dict[str, Any]]) -> None:
    dimmed = 0
    for video in shown[1]["videos"]:
        page.press("1")
        looked = video["episodes"][0]["looked"]
        found = page.run(
            "return [...document.querySelectorAll('#row image')]"
            ".map((e) => Number(e.getAttribute('opacity')) < 0.5)"
        )
        assert found == [not look for look in looked]
        dimmed += sum(found)
        page.press("n")
    assert dimmed > 0


def test_a_name_cannot_break_the_page(page: Browser, shown: tuple[Path, dict[str, Any]]) -> None:
    page.press("n")
    assert page.texts("#title")[0].startswith(f"{NASTY}: ")
    assert page.run("return document.title").startswith("Replay of")
    assert page.run("return document.querySelectorAll('img[src=x]').length") == 0
    page.check(TEXTS)


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [420, 768, 1280, 1900])
@pytest.mark.parametrize("name", ["index", "overview"])
def test_layout(
    browser: Browser,
    shown: tuple[Path, dict[str, Any]],
    tmp_path: Path,
    name: str,
    width: int,
    dark: bool,
) -> None:
    browser.open(shown[0] / f"{name}.html", width, dark=dark)
    browser.check(TEXTS)
    if name == "index":
        browser.press("n", Keys.ARROW_RIGHT, "h")
        browser.check(TEXTS)
    small = browser.run(
        "return [...document.querySelectorAll('body *')].filter((e) => e.checkVisibility() && "
        "!e.closest('.picture') && parseFloat(getComputedStyle(e).fontSize) < 12).length"
    )
    assert small == 0, "text of less than 12 pixels"
    browser.screenshot(tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 10_000
    paper = browser.run("return getComputedStyle(document.body).backgroundColor")
    assert (max(map(int, re.findall(r"\d+", paper))) < 60) == dark


def test_overview(browser: Browser, shown: tuple[Path, dict[str, Any]]) -> None:
    browser.open(shown[0] / "overview.html")
    overview = shown[1]["overview"]
    rows = browser.run(
        "return [...document.querySelectorAll('#table tbody tr')]"
        ".map((row) => [...row.children].map((cell) => cell.textContent))"
    )
    table = {row[0]: row[1:] for row in rows}
    for i, each in enumerate(overview["policies"]):
        accuracy = f"{100 * each['accuracy_by_step'][-1]:.1f} %"
        assert table["accuracy after all frames"][i] == accuracy
        assert table["frames looked at"][i] == f"{100 * each['kept_share']:.1f} %"
        assert table["from one look to the next"][i] == f"{each['path_px']:.1f} px"
        maps = browser.run(
            "return [...document.querySelectorAll('#all figure')[arguments[0]]"
            ".querySelectorAll('rect')].map((e) => Number(e.getAttribute('opacity')))",
            i,
        )
        highest = max(max(policy["heat"]) for policy in overview["policies"])
        assert maps == pytest.approx([share / highest for share in each["heat"]], abs=6e-4)
    classes = [each["name"] for each in overview["policies"][1]["classes"]]
    browser.click('[data-policy="1"]')
    assert browser.texts("#classes b") == classes
    browser.check(TEXTS)
    browser.click('a[href="index.html"]')
    assert browser.texts("#where")
    assert browser.errors() == []


def test_links_lead_to_files(page: Browser, shown: tuple[Path, dict[str, Any]]) -> None:
    for name in ("index", "overview"):
        page.open(shown[0] / f"{name}.html")
        links = page.run(
            "return [...document.querySelectorAll('a')].map((e) => e.getAttribute('href'))"
        )
        assert len(links) >= 3
        for link in links:
            assert (shown[0] / link).is_file()


def test_the_policy_forbids_the_network(
    browser: Browser, shown: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    """The page with a picture and a script from elsewhere put in: both are refused."""
    text = (shown[0] / "index.html").read_text()
    foreign = '<img src="http://127.0.0.1:9/x.png"><script src="http://127.0.0.1:9/x.js"></script>'
    (tmp_path / "index.html").write_text(text.replace("<body>", f"<body>{foreign}"))
    browser.open(tmp_path / "index.html")
    assert sum("Content Security Policy" in line for line in browser.errors()) == 2


def test_data_survive_as_they_are(tmp_path: Path) -> None:
    value = {"<": ["</script>", "<!--", "\u2028", "😀", "é", 1.5, None, True]}
    assert json.loads(as_data(value)) == value
    assert "<" not in as_data(value)
    with pytest.raises(ValueError, match="not JSON compliant"):
        as_data({"share": float("nan")})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_page(tmp_path / "page.html", "replay.html", title="x", data={"x": float("inf")})
    assert not (tmp_path / "page.html").exists()


def test_the_layout_check_finds_what_is_wrong(browser: Browser, tmp_path: Path) -> None:
    """A page for each fault, and one without."""
    pages = {
        "none": "<p>one</p><p>two</p>",
        "asked for": '<p>one</p><link rel="stylesheet" href="http://127.0.0.1:9/x.css">',
        "console": "<p>one</p><script>console.error('bad')</script>",
        "wide": "<p style='width: 2000px'>one</p>",
        "lie on": "<p>one</p><p style='margin-top: -2.2em'>two</p>",
    }
    for fault, body in pages.items():
        (tmp_path / "page.html").write_text(f"<!doctype html><title>x</title>{body}")
        browser.open(tmp_path / "page.html")
        if fault == "none":
            browser.check("p")
        else:
            with pytest.raises(AssertionError, match="console" if fault == "asked for" else fault):
                browser.check("p")
    assert browser.texts("p") == ["one", "two"]
