"""``focusgym replay`` of AF networks: numbers, the page in a browser, refusals."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from browser import Browser
from end_to_end_runs import videos_of
from replay_pages import NASTY, TEXTS
from selenium.webdriver.common.keys import Keys
from torch import Tensor
from verbs import run_fit

from focusgym.recognizer import (
    AFNetOutput,
    AFNetRecognizer,
    FrameConfig,
    count_gmacs,
    read_recognizer,
)
from focusgym.runs.cli import main
from focusgym.runs.configs.replay import ReplayConfig
from focusgym.runs.replays.contract import OF_OPTIONS
from focusgym.runs.verbs.replay import replay

T, GATES = 4, 4
FRAMES = FrameConfig(T, 32, 32)
ROWS = (2, 20)  # one of the training videos; of the test videos, which are rows 19 to 27
CELLS = (
    "return [...document.querySelectorAll(arguments[0])].map((e) => "
    "[+e.dataset.frame, +e.dataset.gate, +e.getAttribute('fill-opacity')])"
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, end_to_end_digits: Path) -> Path:
    """Digits, of which one is called by a name to break a page with."""
    root = tmp_path_factory.mktemp("gates") / "digits"
    shutil.copytree(end_to_end_digits, root)
    label = pd.read_csv(root / "videos.csv")["label"][ROWS[1]]
    (root / "classes.txt").write_text(
        "".join(f"{NASTY if c == label else f'digit {c}'}\n" for c in range(10))
    )
    return root


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    """A run, whose gates then keep some of the frames, by what they see."""
    out = tmp_path_factory.mktemp("afnet") / "run"
    how = ("--preset", "afnet_digits", "--steps", T, "--epochs", 1, "--batch-size", 6)
    run_fit(*map(str, ("afnet", out, "--videos", data, *how)))
    recognizer = read_recognizer(out, fuse=False)
    assert isinstance(recognizer, AFNetRecognizer)
    torch.manual_seed(0)
    for name, value in recognizer.network.named_parameters():
        if ".navigation." in name and value.ndim > 1:
            torch.nn.init.normal_(value, 0, 3)
        elif name.endswith("score.bias"):
            torch.nn.init.zeros_(value)
    recognizer.save(out)
    return out


@pytest.fixture(scope="module")
def shown(run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("replay") / "pages"
    return out, replay(ReplayConfig(out, run, videos=ROWS, select=("regret",), more=1))


@pytest.fixture(scope="module")
def looked(run: Path, data: Path) -> tuple[Tensor, AFNetRecognizer, AFNetOutput]:
    """Labels of all videos, the recognizer, and what it makes of them by itself."""
    frames, labels = videos_of(data, None, FRAMES)
    recognizer = read_recognizer(run)
    assert isinstance(recognizer, AFNetRecognizer)
    return labels, recognizer, recognizer.look(frames)


def test_numbers_are_the_recognizers(
    shown: tuple[Path, dict[str, Any]],
    looked: tuple[Tensor, AFNetRecognizer, AFNetOutput],
    data: Path,
) -> None:
    (out, result), (labels, recognizer, output) = shown, looked
    names = [f"stage {i}, block {j}" for i in (1, 2) for j in (1, 2)]
    assert json.loads((out / "episodes.json").read_text())["gates"] == [names, names]
    assert [each["name"] for each in result["policies"]] == ["AFNet", "every frame kept"]
    assert 0 < output.masks.mean() < 1
    frames, _ = videos_of(data, None, FRAMES)
    assert [video["row"] for video in result["videos"]] == [*ROWS, 19]
    for video in result["videos"]:
        row = video["row"]
        own, full = video["episodes"]
        assert own["masks"] == output.masks[row].tolist()
        assert own["ran"] == output.ran[row].tolist()
        assert own["attended"] == output.ran[row].any(dim=1).tolist()
        assert own["positions"] is None
        p, label = output.logits[row].softmax(dim=-1), int(labels[row])
        assert own["confidences"][-1] == pytest.approx(float(p[label]), abs=1e-5)
        assert own["certainties"][-1] == pytest.approx(float(p.max()), abs=1e-5)
        assert own["correct"][-1] == (int(p.argmax()) == label)
        half = output.by_frame[row, :2].mean(dim=0).softmax(dim=-1)
        assert own["confidences"][1] == pytest.approx(float(half[label]), abs=1e-5)
        assert own["gmacs"][-1] == pytest.approx(float(recognizer(frames[row : row + 1]).gmacs))
        assert np.diff([0, *own["gmacs"]]).min() > 0
        assert full["masks"] == [[1] * GATES] * T
        assert full["gmacs"][-1] == pytest.approx(result["full_gmacs"][0])
        ones = torch.ones(1, T, GATES)
        everything = recognizer.network(frames[row : row + 1], masks=ones, gather=True)
        p = everything.logits[0].softmax(dim=-1)
        assert full["confidences"][-1] == pytest.approx(float(p[label]), abs=1e-5)
        assert {key: own[key] for key in OF_OPTIONS} == dict.fromkeys(OF_OPTIONS)
    counted = count_gmacs(lambda: recognizer.network(frames[:1]))
    assert result["full_gmacs"] == [pytest.approx(counted, rel=1e-6)] * 2
    assert "AFNet chooses no places: there are no options to lose" in result["notes"][0]


def test_the_overview_is_of_the_split(
    shown: tuple[Path, dict[str, Any]], looked: tuple[Tensor, AFNetRecognizer, AFNetOutput]
) -> None:
    result, (labels, recognizer, output) = shown[1], looked
    test = slice(19, 28)
    own = result["overview"]["policies"][0]
    shares = output.masks[test].mean(dim=0)
    assert torch.tensor(own["gates"]).allclose(shares, atol=1e-5)
    right = output.logits[test].argmax(dim=-1) == labels[test]
    assert own["accuracy_by_step"][-1] == pytest.approx(float(right.double().mean()))
    assert own["kept_share"] == pytest.approx(float(output.ran[test].double().mean()))
    spent = recognizer.cost.of_videos(output.ran[test]).mean()
    assert own["gmacs_by_step"][-1] == pytest.approx(float(spent))
    assert sum(own["gmacs_by_network"].values()) == pytest.approx(float(spent))
    for of_class in own["classes"]:
        assert np.array(of_class["gates"]).shape == (T, GATES)
    ran = output.ran[test].sum(dim=(1, 2)).tolist()
    assert result["listing"]["policies"][0]["looks"] == ran
    skipped = (~output.ran[test].any(dim=2)).double().mean(dim=0)
    assert own["skipped_by_step"] == pytest.approx(skipped.tolist())


def test_the_page(browser: Browser, shown: tuple[Path, dict[str, Any]]) -> None:
    out, result = shown
    browser.open(out / "index.html")
    assert browser.texts("h1") == ["Which frames AFNet keeps, beside every frame kept"]
    for number, video in enumerate(result["videos"]):
        if number == 1:
            assert browser.texts("#title")[0].endswith(NASTY)
        masks = video["episodes"][0]["masks"]
        cells = browser.run(CELLS, "#timeline .gate")
        expected = [[t, g, masks[t][g]] for g in range(GATES) for t in range(T)]
        assert cells == [pytest.approx(each, abs=1e-3) for each in expected]
        shares = [f"{100 * share:.0f} %" for share in np.mean(masks, axis=0)]
        assert browser.texts("#timeline .of") == shares
        assert f"{100 * np.mean(masks):.0f} % kept, over all" in browser.texts("figcaption")[0]
        ran = [sum(frame) for frame in video["episodes"][0]["ran"]]
        captions = browser.run(
            "return [...document.querySelectorAll('#row button')].map((e) => "
            "e.querySelectorAll('small')[1].textContent)"
        )
        assert captions == [f"{n} of {GATES}" for n in ran]
        facts = '#facts [data-policy="1"]'
        terms = dict(zip(browser.texts(f"{facts} dt"), browser.texts(f"{facts} dd"), strict=True))
        assert terms["blocks that keep it"] == f"{ran[0]} of {GATES}"
        assert terms["branches run in all"] == f"{sum(ran)} of {T * GATES}"
        costs = video["episodes"][0]["gmacs"][-1], result["full_gmacs"][0]
        spent, full = (f"{1000 * gmacs:.3g} MMACs" for gmacs in costs)
        assert terms["cost so far"].endswith(f" of {spent}")
        assert terms["cost if all are run"] == full
        assert not any("box" in term or "reward" in term for term in terms)
        browser.click(f'#timeline .gate[data-frame="{T - 1}"]')
        assert browser.texts("#where") == [f"frame {T} of {T}"]
        at = f"#video={video['row']}&frame={T}"
        assert browser.run("return location.hash") == at
        browser.check(TEXTS)
        browser.press("n")
    assert browser.run("return document.title").startswith("Replay of")
    assert browser.run("return document.querySelectorAll('img[src=x]').length") == 0
    browser.run(f"go({{row: {ROWS[1]}, t: 0}})")
    browser.press("2")
    assert {cell[2] for cell in browser.run(CELLS, "#timeline .gate")} == {1}
    assert "regrets or rewards to show" in browser.texts("[data-absent]")[0]
    browser.run("document.querySelector('[data-row=\"21\"]').click()")
    ends = browser.texts("#ends tbody td")
    assert ends[-1] == f"{T * GATES} of {T * GATES}"
    for width, dark in ((420, False), (768, True)):
        browser.open(out / "index.html", width, dark=dark)
        browser.press(Keys.ARROW_RIGHT)
        browser.check(TEXTS)


@pytest.mark.parametrize("width", [420, 1280])
def test_the_overview_page(
    browser: Browser, shown: tuple[Path, dict[str, Any]], width: int
) -> None:
    out, result = shown
    browser.open(out / "overview.html", width)
    own = result["overview"]["policies"][0]
    cells = browser.run(CELLS, "#all .gate")
    expected = [[t, g, own["gates"][t][g]] for g in range(GATES) for t in range(T)]
    assert cells == [pytest.approx(each, abs=1e-3) for each in expected]
    assert len(browser.run(CELLS, "#classes .gate")) == len(own["classes"]) * T * GATES
    table = browser.texts("#table tbody td")
    assert f"{100 * own['kept_share']:.1f} %" in table[table.index("focal branches run") + 1]
    page_text = browser.run("return document.querySelector('main').innerText")
    for wrong in ("patches", "path ", "Where it looks", "of the looks", "Undecidedness"):
        assert wrong not in page_text, wrong
    assert browser.run("return document.querySelectorAll('img[src=x]').length") == 0
    browser.check(TEXTS)


def test_soft_gates_are_shown_as_weights(data: Path, tmp_path: Path, browser: Browser) -> None:
    """And gates of positions, whose share is told; a network that shifts both ways says so."""
    soft, out = tmp_path / "soft", tmp_path / "out"
    how = ("--preset", "afnet_digits", "--steps", T, "--epochs", 1, "--batch-size", 6)
    gates = ("--selection", "soft", "--ratio", 1, "--spatial-ratio", 1, "--shift", "offline")
    run_fit(*map(str, ("afnet", soft, "--videos", data, *how, *gates, "--keep-score", 1.5)))
    recognizer = read_recognizer(soft)
    assert isinstance(recognizer, AFNetRecognizer)
    options: dict[str, Any] = {"videos": (20,), "select": ("skipped",), "mp4": False}
    result = replay(ReplayConfig(out, soft, **options))
    assert result["notes"] == ["AFNet weights frames, and skips none"]
    assert result["absent"].endswith("the frame after contributes through the shift")
    frames, _ = videos_of(data, None, FRAMES)
    output, (episode, _) = recognizer.look(frames[20:21]), result["videos"][0]["episodes"]
    assert torch.tensor(episode["masks"]).allclose(output.masks[0], atol=1e-4)
    assert torch.tensor(episode["positions"]).allclose(output.positions[0], atol=1e-4)
    assert 0.3 < np.mean(episode["masks"]) < 0.9
    assert all(map(all, episode["ran"]))
    browser.open(out / "index.html")
    cells = {(t, g): share for t, g, share in browser.run(CELLS, "#timeline .gate")}
    assert cells == {
        (t, g): pytest.approx(episode["masks"][t][g], abs=1e-3)
        for t in range(T)
        for g in range(GATES)
    }
    titles = browser.texts("#timeline .gate title")
    assert titles[0] == f"stage 1, block 1, frame 1: weight {episode['masks'][0][0]:.2f}"
    assert "positions kept" in browser.texts("#facts dt")
    browser.check(TEXTS)


def test_what_cannot_be_shown(
    run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    for args, text in (
        ((run, "--reward", "confidence"), "--reward: "),
        ((run, "--gmacs", 1), "is no run of 'focusgym fit cubes', whose videos stop"),
        ((run, "--second", tmp_path / "none"), f"{run} is an AF network, whose gates keep"),
        ((run, "--select", "regret"), "there is nothing to show (AFNet chooses no places"),
        ((run, "--split", "night"), "videos without that split; it has train, val, test"),
    ):
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main(["replay", str(out), "--policy", *map(str, args)])
        assert caught.value.code == 2
        assert text in capsys.readouterr().err, text
        assert not out.exists()
