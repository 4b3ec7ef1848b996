"""The overview in the pages of ``replay``, their layout and their links, in a real browser."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import Browser
from PIL import Image
from replay_pages import DATA, PER_GMAC, TEXTS
from selenium.webdriver.common.keys import Keys

from focusgym.runs.pages.page import as_data, write_page


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
        listed_counts = [
            int(text.split(": ")[1].split(" of ")[0]) for text in browser.texts("#mistakes li")
        ]
        assert listed_counts == sorted(wrong, reverse=True)[:12]
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
        mean_frame = np.asarray(Image.open(io.BytesIO(data)), dtype=np.float64)
        page = json.loads(re.findall(DATA, (shown[0] / "index.html").read_text())[0])
        frames = [uri for video in page["videos"] for uri in video["frames"]]
        every = [
            np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))), dtype=float)
            for uri in frames
        ]
        assert np.abs(mean_frame - np.mean(every, axis=0)).mean() < 3, "but for what JPEG loses"


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
