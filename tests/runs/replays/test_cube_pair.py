"""``focusgym replay`` of runs with cubes: numbers, the time line, the overview, exits, refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import decord
import numpy as np
import pandas as pd
import pytest
import torch
from browser import Browser
from end_to_end_runs import CUBE_FRAMES, D, P, S, cubes_command, videos_of
from selenium.webdriver.common.keys import Keys
from verbs import Call, run_fit

from focusgym.recognizer import CubeRecognizer, Recognition, read_recognizer, uniform_draws
from focusgym.runs.cli import main
from focusgym.runs.configs.replay import ReplayConfig
from focusgym.runs.replays.contract import OF_OPTIONS
from focusgym.runs.replays.cube_episodes import mosaic
from focusgym.runs.verbs.replay import replay

T, SEED = CUBE_FRAMES.steps, 4
TEXTS = "h1, h2, h3, p:not(.hidden), button, dt, dd, text, small, td, th, a, output, .legend span"
SEEN = "return document.querySelector('main').innerText"
ROWS = (20, 21)  # of the test videos, which are rows 19 to 27


@pytest.fixture(scope="module")
def shown(
    cube_run: tuple[Path, Call], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    """A run beside random cubes in its networks: two test videos."""
    out = tmp_path_factory.mktemp("replay") / "pages"
    options = {"videos": ROWS, "select": ("skipped",), "seed": SEED}
    return out, replay(ReplayConfig(out, cube_run[0], **options))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def recognized(
    cube_run: tuple[Path, Call], end_to_end_digits: Path
) -> tuple[torch.Tensor, tuple[Recognition, Recognition]]:
    """Labels of the test videos, and what the recognizer makes of them by itself."""
    frames, labels = videos_of(end_to_end_digits, "test", CUBE_FRAMES)
    recognizer = read_recognizer(cube_run[0])
    assert isinstance(recognizer, CubeRecognizer)
    random = recognizer(frames, uniform_draws(range(9), D, [SEED, 20, 0], 3).float())
    return labels, (recognizer(frames), random)


def test_numbers_are_the_recognizers(
    shown: tuple[Path, dict[str, Any]],
    recognized: tuple[torch.Tensor, tuple[Recognition, Recognition]],
) -> None:
    """After the glance, and after each cube in the policy's order, with the frame it is in."""
    result, (labels, both) = shown[1], recognized
    assert [policy["name"] for policy in result["policies"]] == ["AdaFocusV3", "random cubes"]
    assert (result["cubes"], result["steps"], result["segments"]) == (D, D + 1, [*range(T)])
    assert [video["row"] for video in result["videos"]] == [*ROWS]
    for video in result["videos"]:
        at = video["row"] - 19
        assert video["frame_indices"] == [*range(T)]
        assert len(video["true_boxes"]) == T
        for episode, recognition in zip(video["episodes"], both, strict=True):
            p = recognition.logits[at].softmax(dim=-1)
            assert episode["segments"] == [None, *recognition.segments[at, 1:].tolist()]
            assert episode["boxes_px"] == recognition.boxes_px[at].tolist()
            assert episode["attended"] == [False] + [True] * D
            label = int(labels[at])
            assert episode["confidences"] == pytest.approx(p[:, label].tolist(), abs=1e-5)
            assert episode["correct"] == (p.argmax(dim=-1) == label).tolist()
            assert episode["gmacs"] == pytest.approx(recognition.gmacs[at].tolist())
            assert {key: episode[key] for key in OF_OPTIONS} == dict.fromkeys(OF_OPTIONS)
    assert result["absent"].startswith("A cube of these runs may be at any place of the video")
    assert result["notes"] == ["AdaFocusV3 has no π′: it skips no cubes"]


def test_the_overview_is_of_the_split(
    shown: tuple[Path, dict[str, Any]],
    recognized: tuple[torch.Tensor, tuple[Recognition, Recognition]],
) -> None:
    result, (labels, both) = shown[1], recognized
    assert {looks for each in result["listing"]["policies"] for looks in each["looks"]} == {D}
    for each, recognition in zip(result["overview"]["policies"], both, strict=True):
        right = recognition.logits.argmax(dim=-1) == labels[:, None]
        assert each["accuracy_by_step"] == pytest.approx(right.double().mean(dim=0).tolist())
        assert each["kept_share"] == 1
        assert sum(each["gmacs_by_network"].values()) == pytest.approx(each["gmacs_by_step"][-1])
        segments = recognition.segments[:, 1:].tolist()
        taken = [np.mean([t in of_video for of_video in segments]) for t in range(T)]
        first = [np.mean([of_video[0] == t for of_video in segments]) for t in range(T)]
        assert each["taken_by_frame"] == pytest.approx(taken)
        assert each["first_by_frame"] == pytest.approx(first)
        assert np.mean(each["coverage"]) == pytest.approx(P**2 / S**2, abs=1e-4)
        corners = recognition.boxes_px[:, 1:, :2].double()
        moves = (corners[:, 1:] - corners[:, :-1]).norm(dim=-1)
        assert each["path_px"] == pytest.approx(float(moves.mean()))


def test_films_show_the_glance_and_then_each_cube(
    shown: tuple[Path, dict[str, Any]], end_to_end_digits: Path
) -> None:
    out, result = shown
    frames, _ = videos_of(end_to_end_digits, "test", CUBE_FRAMES)
    video = result["videos"][0]
    pixels = frames[video["row"] - 19]
    film = decord.VideoReader(str(out / "videos" / f"{video['row']}.mp4"))
    assert len(film) == D + 1
    pictures = film.get_batch(range(D + 1)).asnumpy().astype(float)
    expected = [mosaic(pixels), *(pixels[t] for t in video["episodes"][0]["segments"][1:])]
    boxes = video["episodes"][0]["boxes_px"]
    for t, picture in enumerate(pictures):
        factor = -(-336 // S)
        large = expected[t].permute(1, 2, 0).numpy().repeat(factor, 0).repeat(factor, 1)
        seen = picture[-S * factor :, : S * factor]
        if t:  # inside the edge of the box
            left, top, right, bottom = (int(factor * e) for e in boxes[t])
            inside = np.s_[top + 6 : bottom - 6, left + 6 : right - 6]
            seen, large = seen[inside], large[inside]
        assert np.abs(seen - large).mean() < 8, t
    assert (out / "strip.png").stat().st_size > 0


def test_a_mosaic_has_all_frames_in_turn() -> None:
    pixels = torch.arange(5, dtype=torch.uint8).view(5, 1, 1, 1).expand(5, 3, 9, 9) * 10
    picture = mosaic(pixels)
    cells = picture[0].unfold(0, 3, 3).unfold(1, 3, 3).reshape(9, 9)
    assert cells.tolist() == [[10 * min(k, 9)] * 9 if k < 5 else [0] * 9 for k in range(9)]


def test_the_page(browser: Browser, shown: tuple[Path, dict[str, Any]]) -> None:
    """Steps in the policy's order, a lane of the time line for each, and words for cubes."""
    out, result = shown
    browser.open(out / "index.html")
    video = result["videos"][0]
    for t in range(D + 1):
        assert browser.texts("#where") == [f"cube {t} of {D}" if t else "after the glance"]
        assert browser.texts("#after") == [f"After cube {t} of {D}" if t else "After the glance"]
        for i, episode in enumerate(video["episodes"]):
            side = f'#large [data-policy="{i + 1}"]'
            drawn = browser.run(
                "return [...document.querySelectorAll(arguments[0])].map((e) => "
                "['x', 'y', 'width', 'height'].map((name) => +e.getAttribute(name)))",
                f"{side} .chosen",
            )
            images = browser.run(
                "return [...document.querySelectorAll(arguments[0])].map((e) => "
                "e.getAttribute('href'))",
                f"{side} image",
            )
            every = browser.run("return data.videos[0].frames")
            if not t:
                assert not drawn
                assert images == every, "the glance is at all frames"
                assert browser.texts(f"{side} .said") == ["glance"]
                continue
            left, top, right, bottom = episode["boxes_px"][t]
            assert drawn == [[left, top, right - left, bottom - top]]
            assert images == [every[episode["segments"][t]]]
            facts = f'#facts [data-policy="{i + 1}"]'
            terms = dict(
                zip(browser.texts(f"{facts} dt"), browser.texts(f"{facts} dd"), strict=True)
            )
            assert terms["cubes looked at"] == f"{t} of {D}"
            assert terms["frame of the file"] == f"{episode['segments'][t]}"
        assert len(browser.texts(".times .read")) == 2 * max(0, t - 1)
        assert browser.texts(".times .present text") == ([f"{t}"] * 2 if t else [])
        browser.press(Keys.ARROW_RIGHT)
    for i, episode in enumerate(video["episodes"]):
        x = browser.run(
            "return [...document.querySelectorAll(arguments[0])].sort((a, b) => "
            "a.dataset.step - b.dataset.step).map((e) => "
            "+e.querySelector('circle').getAttribute('cx'))",
            f'.times .dot[data-policy="{i + 1}"]',
        )
        order = np.argsort(x).tolist()
        assert order == np.argsort(episode["segments"][1:]).tolist(), "as in the video"
    visible = [bool(box and box["visible"]) for box in video["true_boxes"]]
    assert len(browser.run("return [...document.querySelectorAll('.visible')]")) == sum(visible)
    assert browser.texts(".times .stop") == [f"all {D}"] * 2
    names = browser.run(
        "return [...document.querySelectorAll('#row small:first-child')].map((e) => e.textContent)"
    )
    assert names == ["glance", *[f"cube {d}" for d in range(1, D + 1)]]
    browser.click('.times [data-policy="2"][data-step="2"] text')
    assert browser.texts("#where") == [f"cube 2 of {D}"]
    assert browser.run("return location.hash") == f"#video={ROWS[0]}&cube=2"
    page_text = browser.run(SEEN)
    for wrong in ("frame by frame", "frames looked at", "after all frames", "skipped"):
        assert wrong not in page_text
    browser.check(TEXTS)
    browser.open(out / "index.html", 420, 800)
    browser.check(TEXTS)

    browser.open(out / "overview.html")
    page_text = browser.run(SEEN)
    for words in ("accuracy after all cubes", "cubes looked at", "any cube", "the first cube"):
        assert words in page_text
    assert "skipped" not in page_text
    browser.check(TEXTS)


def test_where_a_video_stops(cube_run: tuple[Path, Call], browser: Browser, tmp_path: Path) -> None:
    """Within a budget that pays for hardly more than the glance."""
    recognizer = read_recognizer(cube_run[0])
    assert isinstance(recognizer, CubeRecognizer)
    costs = np.cumsum(recognizer.step_gmacs(policy=True))
    out = tmp_path / "out"
    budget = float(costs[1])
    result = replay(
        ReplayConfig(out, cube_run[0], videos=(*range(19, 28),), gmacs=budget, mp4=False)
    )
    assert len(result["videos"]) == 9
    stops = []
    for video in result["videos"]:
        episode = video["episodes"][0]
        stops.append(sum(episode["attended"]))
        rest = episode["segments"][stops[-1] + 1 :]
        assert rest == [None] * (D - stops[-1])
        assert len({*episode["gmacs"][stops[-1] :]}) == 1
        assert episode["gmacs"][-1] == pytest.approx(costs[stops[-1]])
    assert min(stops) < D
    overview = result["overview"]["policies"][0]
    assert overview["kept_share"] == pytest.approx(np.mean(stops) / D)
    assert sum(overview["gmacs_by_network"].values()) == pytest.approx(
        np.mean([costs[n] for n in stops])
    )
    browser.open(out / "index.html")
    shown = min(range(9), key=lambda i: stops[i])
    browser.run(f"go({{row: {result['videos'][shown]['row']}, t: {D}}})")
    assert browser.texts(".times .stop")[0] == f"stops after {stops[shown]}"
    assert browser.texts('#large [data-policy="1"] .said') == ["stopped"]
    browser.check(TEXTS)


def test_what_cannot_be_shown(
    cube_run: tuple[Path, Call],
    end_to_end_run: tuple[Path, Call],
    random_cubes_run: Path,
    end_to_end_digits: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run, out = cube_run[0], tmp_path / "out"
    fewer = tmp_path / "fewer"
    run_fit(*cubes_command(fewer, end_to_end_digits, "--cubes", 2, "--epochs", 1))
    first = float(read_recognizer(run).step_gmacs(policy=True)[0])  # type: ignore[union-attr]
    for args, text in (
        (("--second", end_to_end_run[0]), f"--second {end_to_end_run[0]} reads other places than"),
        (("--second", fewer), f"--second {fewer} reads other numbers of cubes than {run}"),
        (("--gmacs", 0.5 * first), "--gmacs: a video costs "),
        (("--cache", "c"), "--cache: "),
        (("--select", "skipped"), "AdaFocusV3 has no π′: it skips no cubes"),
    ):
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main(["replay", str(out), "--policy", str(run), *map(str, args)])
        assert caught.value.code == 2
        assert text in capsys.readouterr().err, text
        assert not out.exists()
    with pytest.raises(SystemExit):
        main(["replay", str(out), "--policy", str(end_to_end_run[0]), "--gmacs", "1"])
    assert f"--gmacs: {end_to_end_run[0]} is no run of 'focusgym fit cubes'" in (
        capsys.readouterr().err
    )
    result = replay(ReplayConfig(out, run, random_cubes_run, videos=(20,), mp4=False))
    assert [policy["name"] for policy in result["policies"]] == ["AdaFocusV3", "random cubes"]
    assert json.loads((out / "episodes.json").read_text())["cubes"] == D
    table = pd.read_csv(end_to_end_digits / "videos.csv")
    assert result["videos"][0]["labels"] == [int(table["label"][20])]
