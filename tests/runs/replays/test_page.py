"""The pages of ``replay`` in a real browser: keys, slider, policies, layout, no network."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from browser import Browser, open_browser
from PIL import Image
from selenium.webdriver.common.keys import Keys

from focusgym.runs.configs.replay import ReplayConfig
from focusgym.runs.pages.page import as_data, write_page
from focusgym.runs.verbs.replay import replay

ROWS = (81, 90, 99)
TEXTS = (
    "h1, h2, h3, p:not(.hidden), button, dt, dd, text, small, figcaption, td, th, a, output, "
    ".legend span, .reason, .name, .class, .share, .scale span"
)
# What must be in the window at once: element by element its top and bottom.
EDGES = """
return arguments[0].map((selector) => [...document.querySelectorAll(selector)].map((e) => {
  const { top, bottom } = e.getBoundingClientRect();
  return [top, bottom];
}));
"""
DATA = r'<script type="application/json" id="data">(.*?)</script>'
PER_GMAC = {"GMACs": 1, "MMACs": 10**3, "kMACs": 10**6}
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
            looks = sum(episode["attended"][: t + 1])
            assert facts["frames looked at"] == f"{looks} of {t + 1} so far"
            shown_rewards = {"reward r": "location_rewards", "reward r′": "skip_rewards"}
            for term, key in shown_rewards.items():
                assert (term in facts) == (episode[key] is not None)
                if term in facts:
                    reward = float(facts[term].replace("−", "-"))
                    assert reward == pytest.approx(episode[key][t], abs=6e-4)
            spent, _, _, unit = facts["cost so far"].split()
            assert float(spent) / PER_GMAC[unit] == pytest.approx(episode["gmacs"][t], rel=6e-3)
            shares = page.texts(f"{side} .share")
            bars = dict(zip(page.texts(f"{side} .class"), shares, strict=True))
            assert len(bars) == len(episode["likeliest"][t])
            for label, probability in episode["likeliest"][t]:
                name = shown[1]["classes"][label]
                name += " (true)" if label in video["labels"] else ""
                assert bars[name] == f"{100 * probability:.1f} %"
            box = f"{side} .chosen"
            drawn = page.run(
                "return [...document.querySelectorAll(arguments[0])].map((e) => "
                "['x', 'y', 'width', 'height'].map((name) => Number(e.getAttribute(name))))",
                box,
            )
            left, top, right, bottom = episode["boxes_px"][t]
            size = [left, top, right - left, bottom - top]
            assert drawn == ([size] if episode["attended"][t] else [])
            said = page.texts(f"{side} .said")
            assert said == ([] if episode["attended"][t] else ["skipped"])
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
    page.press("N")  # as with Caps Lock
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
            low = 0 if key == "probabilities" else min(values)
            ends = [f"{100 * value:.1f} %" for value in (low, max(values))]
            assert page.texts(f'[data-policy="{i}"] .scale span') == ends
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
    price = "AdaFocus+ 1.28e-05 per pixel of the patch (λ), as in its training."
    assert page.texts("#price")[0].endswith(f"Price: {price}")
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
        attended = video["episodes"][0]["attended"]
        found = page.run(
            "return [...document.querySelectorAll('#row image')]"
            ".map((e) => Number(e.getAttribute('opacity')) < 0.5)"
        )
        assert found == [not look for look in attended]
        dimmed += sum(found)
        page.press("n")
    assert dimmed > 0


def test_a_name_cannot_break_the_page(page: Browser, shown: tuple[Path, dict[str, Any]]) -> None:
    page.press("n")
    assert page.texts("#title")[0].startswith(f"{NASTY}: ")
    assert page.run("return document.title").startswith("Replay of")
    assert page.run("return document.querySelectorAll('img[src=x]').length") == 0
    page.check(TEXTS)


@pytest.mark.parametrize(("width", "height"), [(1280, 900), (420, 800)])
def test_picture_player_and_film_strip_are_in_the_first_screen(
    browser: Browser, shown: tuple[Path, dict[str, Any]], width: int, height: int
) -> None:
    browser.open(shown[0] / "index.html", width, height)
    for heat in range(3):
        browser.click(f'[data-heat="{heat}"]')
        browser.run("scrollTo(0, 0)")
        parts = browser.run(EDGES, [".picture", "#play", "#slider", "#row", "#row button"])
        assert [len(part) for part in parts] == [2, 1, 1, 1, shown[1]["steps"]]
        for part in parts:
            for top, bottom in part:
                assert 0 <= top < bottom <= height
        (picture, _), *_, (row,), _ = parts
        assert picture[1] - picture[0] > 150
        assert picture[1] <= row[0], "the strip is below the picture"


def entry(row: int, label: str, right: tuple[bool, bool], sure: tuple[float, float]) -> Any:
    ends = [
        {"prediction": label if ok else "fox", "correct": ok, "confidence": p, "looks": row % 5}
        for ok, p in zip(right, sure, strict=True)
    ]
    text = "\n".join([str(row), f"clip{row}.mp4", label, *(end["prediction"] for end in ends)])
    found = {"row": row, "name": f"clip{row}.mp4", "label": label, "ends": ends, "text": text}
    return found | ({"shown": (7 - row) // 2} if row % 2 else {})


def test_videos_are_searched_filtered_and_sorted(page: Browser) -> None:
    entries = [
        entry(4, "dog", (True, True), (0.9, 0.8)),
        entry(5, "cat", (True, False), (0.6, 0.1)),
        entry(6, "dog", (False, True), (0.2, 0.7)),
        entry(7, "ape", (False, False), (0.3, 0.3)),
        entry(10, "dog", (True, True), (0.5, 0.5)),
    ]
    usual = {"search": "", "filter": "all", "sort": "row", "withPictures": False}
    for change, rows in (
        ({}, [4, 5, 6, 7, 10]),
        ({"filter": "right"}, [4, 5, 10]),
        ({"filter": "wrong"}, [6, 7]),
        ({"filter": "changed"}, [5, 6]),
        ({"withPictures": True}, [5, 7]),
        ({"search": "DOG"}, [4, 6, 10]),
        ({"search": " fox dog "}, [6]),
        ({"search": "clip7"}, [7]),
        ({"search": "zebra"}, []),
        ({"sort": "shown"}, [7, 5, 4, 6, 10]),
        ({"sort": "name"}, [4, 5, 6, 7, 10]),
        ({"sort": "class"}, [7, 5, 4, 6, 10]),
        ({"sort": "lost"}, [6, 7, 10, 5, 4]),
        ({"sort": "sure"}, [4, 5, 10, 7, 6]),
        ({"sort": "gain"}, [5, 4, 7, 10, 6]),
        ({"sort": "looks"}, [5, 10, 6, 7, 4]),
        ({"sort": "sure", "filter": "right", "search": "dog"}, [4, 10]),
    ):
        script = "return chooseEntries(arguments[0], arguments[1]).map((e) => e.row)"
        assert page.run(script, entries, usual | change) == rows, change


def listed(page: Browser) -> list[int]:
    script = "return [...document.querySelectorAll('#list button')].map((b) => +b.dataset.row)"
    rows: list[int] = page.run(script)
    return rows


def test_all_videos_of_the_split_are_in_the_list(
    page: Browser, shown: tuple[Path, dict[str, Any]]
) -> None:
    """By search, filter and order; those shown first come first."""
    listing = shown[1]["listing"]
    others = [row for row in listing["rows"] if row not in ROWS]
    assert listed(page) == [*ROWS, *others]
    assert page.texts("#count") == ["20 of 20 videos; 3 of these frame by frame"]
    first, second = (each["correct"] for each in listing["policies"])
    kept = {
        "right": [bool(one) for one in first],
        "wrong": [not one for one in first],
        "changed": [one != two for one, two in zip(first, second, strict=True)],
        "all": [True] * 20,
    }
    for name, which in kept.items():
        page.click(f'[data-filter="{name}"]')
        assert page.texts('[data-filter][aria-pressed="true"]') == [name.capitalize()]
        wanted = [row for row, ok in zip(listing["rows"], which, strict=True) if ok]
        assert sorted(listed(page)) == wanted
    page.click("#sort option[value=lost]")
    sure = dict(zip(listing["rows"], listing["policies"][0]["confidences"], strict=True))
    assert listed(page) == sorted(sure, key=lambda row: (sure[row], row))
    page.click("#withpictures")
    assert sorted(listed(page)) == list(ROWS)
    page.click("#withpictures")
    page.press("/", "9", "9")
    assert page.run("return document.activeElement.id") == "search", "keys are typed there"
    assert 99 in listed(page)
    assert page.texts("#where") == [f"frame 1 of {shown[1]['steps']}"]
    page.press("x", "x")
    assert listed(page) == []
    assert page.texts("#count") == ["0 of 20 videos; 0 of these frame by frame"]
    page.check(TEXTS)


def test_a_long_list_is_drawn_a_part_at_a_time(page: Browser) -> None:
    script = """
    for (let i = 0; i < 3000; i++) entries.push({ ...entries[4], row: 1000 + i, shown: undefined });
    drawList();
    """
    page.run(script)
    assert len(listed(page)) == 60
    page.click("#further")
    assert len(listed(page)) == 120
    assert page.texts("#further") == ["Further videos (2900 left)"]


def test_a_video_without_pictures_is_told_in_words(
    page: Browser, shown: tuple[Path, dict[str, Any]]
) -> None:
    listing = shown[1]["listing"]
    page.click('[data-row="84"]')
    assert not page.run("return document.getElementById('large').checkVisibility()")
    rows = page.run(
        "return [...document.querySelectorAll('#ends tbody tr')]"
        ".map((row) => [...row.children].map((cell) => cell.textContent))"
    )
    at = listing["rows"].index(84)
    for i, each in enumerate(listing["policies"]):
        mark = "✓" if each["correct"][at] else "✗"
        assert rows[0][1 + i] == f"{mark} {shown[1]['classes'][each['predictions'][at]]}"
        assert rows[2][1 + i] == f"{each['looks'][at]} of {shown[1]['steps']}"
    assert page.texts("#ask") == ["--videos 84"]
    page.press(" ", Keys.ARROW_RIGHT, "h")
    page.check(TEXTS)
    page.press(*"pppp")
    assert page.run("return document.getElementById('large').checkVisibility()")


def test_an_address_leads_to_a_video_and_a_frame(
    browser: Browser, shown: tuple[Path, dict[str, Any]], page: Browser
) -> None:
    page.press("n", Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert page.run("return location.hash") == "#video=90&frame=3"
    link = page.run("return document.getElementById('link').href")
    assert link.endswith("index.html#video=90&frame=3")
    for hash_, row, frame in (
        ("#video=99&frame=2", 99, 2),
        ("#video=90", 90, 1),
        ("#video=90&frame=1000", 90, shown[1]["steps"]),
        ("#video=90&frame=x", 90, 1),
        ("#video=3&frame=2", 90, 1),  # there is none: nothing changes
    ):
        page.run("location.hash = arguments[0]", hash_)
        page.run("return new Promise((resolve) => setTimeout(resolve, 50))")
        assert page.texts("#why")[0].startswith(f"Row {row} of the cache")
        assert page.texts("#where") == [f"frame {frame} of {shown[1]['steps']}"]
    browser.driver.get("about:blank")
    browser.driver.get(f"{(shown[0] / 'index.html').as_uri()}#video=99&frame=4")
    assert page.texts("#why")[0].startswith("Row 99 of the cache")
    assert page.texts("#where") == [f"frame 4 of {shown[1]['steps']}"]
    page.check(TEXTS)


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [420, 768, 1280])
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
        low, high = (100 * bound for bound in each["accuracy_intervals_by_step"][-1])
        accuracy = f"{100 * each['accuracy_by_step'][-1]:.1f} %({low:.1f} to {high:.1f})"
        assert table["accuracy after all frames"][i] == accuracy
        ((unit, spent),) = (
            (name.removeprefix("cost per video, "), cells)
            for name, cells in table.items()
            if name.startswith("cost per video, ")
        )
        cost = float(spent[i]) / PER_GMAC[unit]
        assert cost == pytest.approx(each["gmacs_by_step"][-1], rel=6e-4)
        assert table["frames looked at"][i] == f"{100 * each['kept_share']:.1f} %"
        assert table["from one look to the next"][i] == f"{each['path_px']:.1f} px"
    costs = browser.run(
        "return [...document.querySelectorAll('#cost tbody tr')]"
        ".map((row) => [...row.children].slice(1).map((cell) => Number(cell.textContent)))"
    )
    for i, each in enumerate(overview["policies"]):
        by_network = [PER_GMAC[unit] * gmacs for gmacs in each["gmacs_by_network"].values()]
        assert [row[i] for row in costs[:4]] == pytest.approx(by_network, rel=6e-4)
        assert costs[4][i] == pytest.approx(sum(by_network), rel=6e-4)
    assert len(browser.run("return document.querySelectorAll('.band')")) == 4
    classes = [each["name"] for each in overview["policies"][1]["classes"]]
    browser.click('[data-policy="1"]')
    assert browser.texts("#classes b") == classes
    for i, each in enumerate(overview["policies"]):
        browser.click(f'[data-confused="{i}"]')
        counts = browser.run(
            "return [...document.querySelectorAll('#matrix tbody tr')]"
            ".map((row) => [...row.children].slice(1).map((cell) => Number(cell.textContent)))"
        )
        n = len(shown[1]["classes"])
        expected = [[0] * n for _ in range(n)]
        for true, predicted, count in each["confusion"]:
            expected[true][predicted] = count
        assert counts == expected
        wrong = [count for true, predicted, count in each["confusion"] if true != predicted]
        told = [int(text.split(": ")[1].split(" of ")[0]) for text in browser.texts("#mistakes li")]
        assert told == sorted(wrong, reverse=True)[:12]
    browser.check(TEXTS)
    browser.click('a[href="index.html"]')
    assert browser.texts("#where")
    assert browser.errors() == []


def test_heat_maps_cover_what_patches_cover(
    browser: Browser, shown: tuple[Path, dict[str, Any]]
) -> None:
    """Against adding up patches pixel by pixel, over the mean frame, with a scale."""
    browser.open(shown[0] / "overview.html")
    policies = shown[1]["overview"]["policies"]
    n, side, patch = (shown[1][name] for name in ("grid", "frame_px", "patch_px"))
    offsets = [i * (side - patch) // (n - 1) for i in range(n)]
    maps = []
    for each in policies:
        pixels = np.zeros((side, side))
        for k, share in enumerate(each["heat"]):
            top, left = offsets[k // n], offsets[k % n]
            pixels[top : top + patch, left : left + patch] += share
        maps.append(pixels)
    highest = max(pixels.max() for pixels in maps)
    for i, pixels in enumerate(maps):
        figure = f"document.querySelectorAll('#all figure')[{i}]"
        rects = browser.run(
            f"return [...{figure}.querySelectorAll('svg rect')].map((e) => "
            "['x', 'y', 'width', 'height', 'opacity'].map((name) => +e.getAttribute(name)))"
        )
        drawn = np.full((side, side), np.nan)
        for x, y, width, height, opacity in rects:
            drawn[int(y) : int(y + height), int(x) : int(x + width)] = opacity / 0.85
        np.testing.assert_allclose(drawn, pixels / highest, atol=1e-3)
        scale = browser.run(f"return {figure}.querySelector('.scale').textContent")
        assert scale == f"0 %{100 * highest:.0f} %"
        image = browser.run(f"return {figure}.querySelector('image').getAttribute('href')")
        data = base64.b64decode(image.removeprefix("data:image/jpeg;base64,"))
        found = np.asarray(Image.open(io.BytesIO(data)), dtype=np.float64)
        page = json.loads(re.findall(DATA, (shown[0] / "index.html").read_text())[0])
        frames = [uri for video in page["videos"] for uri in video["frames"]]
        every = [
            np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))), dtype=float)
            for uri in frames
        ]
        assert np.abs(found - np.mean(every, axis=0)).mean() < 3, "but for what JPEG loses"


def test_many_classes_are_a_picture(browser: Browser, shown: tuple[Path, dict[str, Any]]) -> None:
    browser.open(shown[0] / "overview.html")
    script = """
    const classes = Array.from({ length: 200 }, (_, i) => `class ${i}`);
    const picture = confusionPicture([[3, 4, 1], [3, 3, 3]], classes, () => "red", "matrix");
    document.getElementById("matrix").replaceChildren(picture);
    const told = (e) => [e.getAttribute("x"), e.getAttribute("y"), e.textContent];
    return [...picture.querySelectorAll("rect")].map(told);
    """
    assert browser.run(script) == [
        ["4", "3", "class 3 taken for class 4: 1 of 4"],
        ["3", "3", "class 3 taken for class 3: 3 of 4"],
    ]
    browser.check(TEXTS)


def test_links_lead_to_files(page: Browser, shown: tuple[Path, dict[str, Any]]) -> None:
    for name in ("index", "overview"):
        page.open(shown[0] / f"{name}.html")
        links = page.run(
            "return [...document.querySelectorAll('a')].map((e) => e.getAttribute('href'))"
        )
        assert len(links) >= 3
        for link in [link for link in links if not link.startswith("#")]:
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
