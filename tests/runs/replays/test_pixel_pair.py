"""``focusgym replay`` of runs that were trained end to end: numbers, pages, refusals."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import decord
import numpy as np
import pandas as pd
import pytest
import torch
from browser import Browser
from end_to_end_runs import FRAMES, P, S, T, command
from PIL import Image
from selenium.webdriver.common.keys import Keys
from verbs import Call, run_fit

from focusgym.feature_cache import Clip, read_frames
from focusgym.recognizer import AdaptiveRecognizer, Recognition, fixed_places, uniform_draws
from focusgym.runs.cli import main
from focusgym.runs.configs.replay import ReplayConfig
from focusgym.runs.replays.contract import OF_OPTIONS
from focusgym.runs.verbs.replay import replay

SEED = 4
READ = [3, 1, 5]  # of six frames, the middles of thirds, in the order of AdaFocusV2
TEXTS = "h1, h2, h3, p:not(.hidden), button, dt, dd, text, small, td, th, a, output, .legend span"


@pytest.fixture(scope="module")
def stranger() -> int:
    """A row of the training videos."""
    return 2


@pytest.fixture(scope="module")
def shown(
    end_to_end_run: tuple[Path, Call], stranger: int, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    """A run beside random boxes in its networks: a stranger, and two test videos."""
    out = tmp_path_factory.mktemp("replay") / "pages"
    options = {"videos": (stranger, 20), "select": ("regret",), "more": 1, "seed": SEED}
    return out, replay(ReplayConfig(out, end_to_end_run[0], **options))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def recognized(
    end_to_end_run: tuple[Path, Call], end_to_end_digits: Path, stranger: int
) -> tuple[pd.DataFrame, tuple[Recognition, Recognition]]:
    """The test videos, then the stranger, and what the recognizer makes of them by itself."""
    table = pd.read_csv(end_to_end_digits / "videos.csv")
    table = pd.concat([table[table["split"] == "test"], table.iloc[[stranger]]])
    frames = torch.stack(
        [read_frames(Clip(str(end_to_end_digits / path)), FRAMES)[0] for path in table["path"]]
    )
    recognizer = AdaptiveRecognizer.from_bundle(end_to_end_run[0])
    draws = uniform_draws(range(len(table)), T, [SEED, 20, 0])
    random = recognizer(frames, fixed_places("random", recognizer.places, draws))
    return table.reset_index(), (recognizer(frames), random)


def test_numbers_are_the_recognizers(
    shown: tuple[Path, dict[str, Any]],
    recognized: tuple[pd.DataFrame, tuple[Recognition, Recognition]],
) -> None:
    """Boxes, predictions, confidences and costs after each step, also of a video chosen by hand."""
    result, (table, both) = shown[1], recognized
    assert [policy["name"] for policy in result["policies"]] == ["AdaFocusV2", "random boxes"]
    assert result["segments"] == [1, 0, 2]
    assert [video["row"] for video in result["videos"]] == [2, 20, 19]
    for video in result["videos"]:
        at = int(np.flatnonzero(table["index"] == video["row"])[0])
        label = int(table["label"][at])
        assert (video["labels"], video["frame_indices"]) == ([label], READ)
        for episode, recognition in zip(video["episodes"], both, strict=True):
            p = recognition.logits[at].softmax(dim=-1)
            np.testing.assert_allclose(episode["boxes_px"], recognition.boxes_px[at], atol=6e-4)
            width = [right - left for left, _, right, _ in episode["boxes_px"]]
            assert width == pytest.approx([P] * T, abs=2e-3)
            assert episode["attended"] == [True] * T
            assert episode["confidences"] == pytest.approx(p[:, label].tolist(), abs=1e-5)
            assert episode["certainties"] == pytest.approx(p.max(dim=-1).values.tolist(), abs=1e-5)
            best = p.argmax(dim=-1)
            assert episode["predictions"] == [result["classes"][int(each)] for each in best]
            assert episode["correct"] == (best == label).tolist()
            assert episode["gmacs"] == pytest.approx(recognition.gmacs[at].tolist())
            assert {key: episode[key] for key in OF_OPTIONS} == dict.fromkeys(OF_OPTIONS)
    absent = ("cache", "grid", "boxes_px", "reward")
    assert {key: result[key] for key in absent} == dict.fromkeys(absent)
    assert result["absent"].startswith("A box of these runs may be at any place of the frame")


def test_the_list_and_the_overview_are_of_the_split(
    shown: tuple[Path, dict[str, Any]],
    recognized: tuple[pd.DataFrame, tuple[Recognition, Recognition]],
) -> None:
    """Without the stranger: ends, accuracies, costs, and how far boxes move in reading order."""
    result, (table, both) = shown[1], recognized
    listing, labels = result["listing"], torch.tensor(table["label"][:-1].to_numpy())
    assert listing["rows"] == table["index"][:-1].tolist()
    assert result["overview"]["n_videos"] == 9
    of_policies = zip(result["overview"]["policies"], listing["policies"], both, strict=True)
    for i, (each, ends, recognition) in enumerate(of_policies):
        right = recognition.logits[:-1].argmax(dim=-1) == labels[:, None]
        assert each["accuracy_by_step"] == pytest.approx(right.double().mean(dim=0).tolist())
        assert ends["predictions"] == recognition.logits[:-1, -1].argmax(dim=-1).tolist()
        assert each["gmacs_by_step"][-1] == pytest.approx(float(recognition.gmacs[0, -1]))
        assert sum(each["gmacs_by_network"].values()) == pytest.approx(each["gmacs_by_step"][-1])
        assert (each["gmacs_by_network"]["policy_gmacs"] > 0) == (i == 0)
        corners = recognition.boxes_px[:-1, :, :2].double()
        moves = (corners[:, 1:] - corners[:, :-1]).norm(dim=-1)
        assert each["path_px"] == pytest.approx(float(moves.mean()), abs=2e-3)
        nothing = ("heat", "entropy_bits_by_step", "used_bits_by_step")
        assert {key: each[key] for key in nothing} == dict.fromkeys(nothing)
        assert len(each["coverage"]) == 32**2
        assert np.mean(each["coverage"]) == pytest.approx(P**2 / S**2, abs=1e-4)
        for of_class in each["classes"]:
            label = result["classes"].index(of_class["name"])
            assert of_class["videos"] == int((labels == label).sum())
    assert result["notes"] == [
        "AdaFocusV2 may look anywhere: there are no options to lose confidence to"
    ]


def test_true_boxes_and_films(shown: tuple[Path, dict[str, Any]], end_to_end_digits: Path) -> None:
    """By the frames' places in the file; a film has a picture of each step, in reading order."""
    out, result = shown
    table = pd.read_csv(end_to_end_digits / "boxes.csv").set_index(["path", "frame"])
    paths = pd.read_csv(end_to_end_digits / "videos.csv")["path"]
    for video in result["videos"]:
        for frame, box in zip(READ, video["true_boxes"], strict=True):
            expected = table.loc[(paths[video["row"]], frame)]
            assert box["px"] == expected[["left", "top", "right", "bottom"]].tolist()
            assert box["visible"] == expected["visible"]
        path = out / "videos" / f"{video['row']}.mp4"
        assert path.exists() == (video["kind"] is not None or video["why"] == "chosen by hand")
        if not path.exists():
            continue
        film = decord.VideoReader(str(path))
        assert len(film) == T
        pictures = film.get_batch(range(T)).asnumpy().astype(float)
        frames, _ = read_frames(Clip(str(end_to_end_digits / paths[video["row"]])), FRAMES)
        left, top, right, bottom = (int(6 * e) for e in video["episodes"][0]["boxes_px"][0])
        inside = np.s_[top + 6 : bottom - 6, left + 6 : right - 6]  # of the edge of the box
        factor = -(-336 // S)
        large = frames.permute(0, 2, 3, 1).numpy().repeat(factor, 1).repeat(factor, 2)
        seen = pictures[0][-S * factor :, : S * factor]
        assert np.abs(seen[inside] - large[0][inside]).mean() < 6
    with Image.open(out / "strip.png") as strip:
        assert strip.width > 300
    assert json.loads((out / "episodes.json").read_text())["videos"] == result["videos"]


def test_the_page(browser: Browser, shown: tuple[Path, dict[str, Any]]) -> None:
    """Boxes at fractions of pixels, steps in reading order on a time line, and nothing faked."""
    out, result = shown
    browser.open(out / "index.html")
    video = result["videos"][0]
    for t in range(T):
        assert browser.texts("#where") == [f"step {t + 1} of {T}: frame {READ[t]}"]
        for i, episode in enumerate(video["episodes"]):
            drawn = browser.run(
                "const e = document.querySelector(arguments[0]);"
                "return ['x', 'y', 'width', 'height'].map((name) => +e.getAttribute(name));",
                f'[data-policy="{i + 1}"] .chosen',
            )
            left, top, right, bottom = episode["boxes_px"][t]
            assert drawn == pytest.approx([left, top, right - left, bottom - top])
            facts = browser.texts(f'[data-policy="{i + 1}"] dt')
            assert "reward r" not in facts
            assert "box, left and top" in facts
        assert len(browser.texts(".times .read")) == t
        assert browser.texts(".times .present text") == [f"{t + 1}"]
        browser.press(Keys.ARROW_RIGHT)
    assert any(edge % 1 for box in video["episodes"][0]["boxes_px"] for edge in box)
    assert browser.texts("#row small") == [
        text for t in range(T) for text in (f"step {t + 1}", f"frame {READ[t]}")
    ]
    centres = browser.run(
        "return [...document.querySelectorAll('.times circle')].map((e) => +e.getAttribute('cx'))"
    )
    assert sorted(range(T), key=lambda t: centres[t]) == [1, 0, 2], "as in the video"
    _check_hidden(browser)
    browser.press("h")
    assert not browser.texts(".cell")
    browser.click('.times [data-step="2"] text')
    assert browser.texts("#where")[0].startswith("step 2")
    browser.check(TEXTS)
    browser.open(out / "index.html", 420, 800)
    browser.check(TEXTS)

    browser.open(out / "overview.html")
    _check_hidden(browser)
    rects = browser.run(
        "return [...document.querySelectorAll('#all figure:first-child svg rect')].map((e) => "
        "['x', 'y', 'width', 'opacity'].map((name) => +e.getAttribute(name)))"
    )
    maps = [policy["coverage"] for policy in result["overview"]["policies"]]
    assert rects[33][:3] == [2, 2, 2], "cells of 2 px: 32 along 64 px"
    highest = max(map(max, maps))
    strength = [0.85 * share / highest for share in maps[0]]
    assert [rect[3] for rect in rects] == pytest.approx(strength, abs=1e-3)
    browser.check(TEXTS)


def _check_hidden(browser: Browser) -> None:
    """What only options have is not seen, and a sentence says why."""
    visible = "return [...document.querySelectorAll(arguments[0])].map((e) => e.checkVisibility())"
    parts = browser.run(visible, '[data-of="options"]')
    assert len(parts) >= 2
    assert not any(parts)
    reason = "there are no probabilities of options, no alternatives, no regrets and no rewards"
    (sentence,) = browser.texts("[data-absent]")
    assert reason in sentence
    assert browser.run(visible, "[data-absent]") == [True]


def test_what_cannot_be_shown_beside_each_other(
    end_to_end_run: tuple[Path, Call],
    end_to_end_digits: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run, out, cached = end_to_end_run[0], tmp_path / "out", tmp_path / "cached"
    other = tmp_path / "other"
    run_fit(*command(other, end_to_end_digits, "--order", "video", "--epochs", 1))
    shutil.copytree(run, tmp_path / "again" / "run")
    policy = ("--policy", run)
    for args, text in (
        ((*policy, "--second", cached), f"{run} was trained end to end, and is played on the"),
        (("--policy", cached, "--second", run), f"{cached} is no such run: expected two of one"),
        ((*policy, "--second", other), "expected the same (order 'halving', got 'video')"),
        ((*policy, "--cache", "c"), "--cache: "),
        ((*policy, "--classifier", "c"), "--classifier: "),
        ((*policy, "--reward", "confidence"), "played on the video files, without a cache or"),
        ((*policy, "--split", "night"), "videos without that split; it has train, val, test"),
        ((*policy, "--select", "regret"), "there is nothing to show (AdaFocusV2 may look anywhere"),
        ((*policy, "--videos", "28"), "--videos must be rows of the list of videos in [0, 28)"),
    ):
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main(["replay", str(out), *map(str, args)])
        assert caught.value.code == 2
        assert text in capsys.readouterr().err, text
        assert not out.exists()
    config = ReplayConfig(out, run, tmp_path / "again" / "run", videos=(20,), mp4=False)
    result = replay(config)
    first, second = (policy["name"] for policy in result["policies"])
    assert first.startswith("AdaFocusV2 (")
    assert second == "AdaFocusV2 (again/run)"
    one, two = result["videos"][0]["episodes"]
    assert one == two


def test_a_run_that_does_not_learn_where_is_beside_others(
    end_to_end_digits: Path, tmp_path: Path
) -> None:
    """One with random boxes is shown beside central ones: random ones would be the same."""
    run = tmp_path / "run"
    options = ("--boxes", "random", "--no-auxiliary", "--epochs", 1)
    run_fit(*command(run, end_to_end_digits, *options))
    result = replay(ReplayConfig(tmp_path / "out", run, videos=(20,), mp4=False))
    names = [(policy["name"], policy["learned"]) for policy in result["policies"]]
    assert names == [("random boxes", False), ("central boxes", False)]
    central = (S - P) / 2
    boxes = result["videos"][0]["episodes"][1]["boxes_px"]
    assert boxes == [[central, central, central + P, central + P]] * T
    assert result["overview"]["policies"][1]["path_px"] == 0
