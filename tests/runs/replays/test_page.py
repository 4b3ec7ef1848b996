"""The pages of ``replay`` in a real browser: keys, slider, policies, layout, no network."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from browser import Browser
from replay_pages import NASTY, PER_GMAC, ROWS, TEXTS
from selenium.webdriver.common.keys import Keys

# What must be in the window at once: element by element its top and bottom.
EDGES = """
return arguments[0].map((selector) => [...document.querySelectorAll(selector)].map((e) => {
  const { top, bottom } = e.getBoundingClientRect();
  return [top, bottom];
}));
"""


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
            captions = page.texts(f"{side} .said")
            assert captions == ([] if episode["attended"][t] else ["skipped"])
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
    verdicts = f"({names[0]}: {ends[0]}, {names[1]}: {ends[1]})"
    assert verdicts in page.texts('[data-video="0"]')[0]
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
    ticks = page.run("return ticks(-0.0055, 0.0035).values")
    assert ticks == pytest.approx([-0.004, -0.002, 0, 0.002])
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
        is_dimmed = page.run(
            "return [...document.querySelectorAll('#row image')]"
            ".map((e) => Number(e.getAttribute('opacity')) < 0.5)"
        )
        assert is_dimmed == [not look for look in attended]
        dimmed += sum(is_dimmed)
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
