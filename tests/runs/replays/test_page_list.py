"""The list of videos in the pages of ``replay``, in a real browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from browser import Browser
from replay_pages import ROWS, TEXTS
from selenium.webdriver.common.keys import Keys


def entry(row: int, label: str, right: tuple[bool, bool], sure: tuple[float, float]) -> Any:
    ends = [
        {"prediction": label if ok else "fox", "correct": ok, "confidence": p, "looks": row % 5}
        for ok, p in zip(right, sure, strict=True)
    ]
    text = "\n".join([str(row), f"clip{row}.mp4", label, *(end["prediction"] for end in ends)])
    facts = {"row": row, "name": f"clip{row}.mp4", "label": label, "ends": ends, "text": text}
    return facts | ({"shown": (7 - row) // 2} if row % 2 else {})


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
