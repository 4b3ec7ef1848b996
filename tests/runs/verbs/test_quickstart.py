"""The main job, end to end, small."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torchvision
import yaml
from matplotlib.image import imread

from focusgym.agents import PPOConfig, read_policy
from focusgym.envs import FocusEnv
from focusgym.feature_cache import FeatureCache
from focusgym.feature_cache.videos.mp4 import write_mp4
from focusgym.recognizer import (
    FrameConfig,
    FrameCost,
    PolicyConfig,
    read_classifier,
    read_encoder,
)
from focusgym.runs.configs.quickstart import QuickstartConfig
from focusgym.runs.evaluation.plug_back import parity, true_centers, worst_parity
from focusgym.runs.executors import local
from focusgym.runs.training.quickstart_steps import fit_encoders
from focusgym.runs.training.recipes import Recipe, adamw, clips
from focusgym.runs.verbs.quickstart import quickstart

Run = tuple[Path, dict[str, Any]]
LEARNED = ["adafocus", "adafocus_finetuned", "random_finetuned"]
FIXED = ["random", "central", "gaussian"]
SKIPPING = ["adafocus_plus", "uniform_frames"]


class Drawn:
    """Stands in for a figure: is saved as a copy of a picture."""

    def __init__(self, picture: bytes) -> None:
        self.picture = picture

    def savefig(self, path: Path, **_: object) -> None:
        path.write_bytes(self.picture)


@pytest.fixture
def drawn_before(tiny_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copy the pictures of the finished run, in tests that look at other things."""
    for function, name in (("accuracy_plot", "accuracy.png"), ("patch_strip", "patches.png")):
        drawn = Drawn((tiny_run[0] / name).read_bytes())
        monkeypatch.setattr(
            f"focusgym.runs.evaluation.report.{function}", lambda *_, drawn=drawn: drawn
        )


def row(results: dict[str, Any], name: str) -> dict[str, Any]:
    return next(r for r in results["policies"] if r["name"] == name)


def test_results_have_their_form(tiny_run: Run) -> None:
    out, results = tiny_run
    assert json.loads((out / "results.json").read_text()) == results
    assert (results["seed"], results["split"]) == (0, "test")
    assert (results["n_videos"], results["steps"]) == (20, 6)
    bounds = ["true_box", "oracle"]
    assert [r["name"] for r in results["policies"]] == [*FIXED, *LEARNED, *SKIPPING, *bounds]
    for r in results["policies"]:
        assert len(r["accuracy_by_step"]) == 6
        assert all(0 <= a <= 1 for a in r["accuracy_by_step"])
        assert r["accuracy"] == r["accuracy_by_step"][-1]
        # Wilson's interval: the shares p with |p̂ - p| <= 1.96·sqrt(p(1 - p) / n)
        for p in r["accuracy_interval"]:
            edge = 1.959964 * np.sqrt(p * (1 - p) / 20)
            assert abs(r["accuracy"] - p) == pytest.approx(edge, abs=1e-5)
        assert r["name"] in SKIPPING or r["kept_share"] == 1.0
    assert all(seconds > 0 for seconds in results["seconds"].values())


def test_the_csv_is_the_same_table(tiny_run: Run) -> None:
    out, results = tiny_run
    table = pd.read_csv(out / "results.csv").set_index("policy")
    for r in results["policies"]:
        steps = [table.loc[r["name"], f"step_{t}"] for t in range(1, 7)]
        assert steps == pytest.approx(r["accuracy_by_step"])
        assert table.loc[r["name"], "mean"] == pytest.approx(np.mean(r["accuracy_by_step"]))
        assert table.loc[r["name"], "kept_share"] == pytest.approx(r["kept_share"])
        assert table.loc[r["name"], "gmacs_per_video"] == pytest.approx(r["gmacs_per_video"])


def test_pictures_are_drawn_and_policies_bundled(tiny_run: Run) -> None:
    out, _ = tiny_run
    for name in ("accuracy.png", "patches.png"):
        picture = imread(out / name)
        assert min(picture.shape[:2]) > 300
        assert picture.std() > 0.05
    # The chosen boxes are drawn: matplotlib's lime is pure green.
    strip = (imread(out / "patches.png")[..., :3] * 255).round()
    assert ((strip == [0, 255, 0]).all(-1)).sum() > 1000
    cache = FeatureCache.open(out / "cache")
    assert read_policy(out / "policy", cache.fingerprint).config.n_options == 49


def test_pixels_and_cache_agree(tiny_run: Run) -> None:
    _, results = tiny_run
    assert results["parity"]["prediction_agreement"] >= 0.995
    assert results["parity"]["max_abs_confidence_difference"] <= 0.02


def test_an_accuracy_replayed_through_the_environment(tiny_run: Run) -> None:
    """The central policy's row is measured on pixels; here it is played through Gymnasium."""
    out, results = tiny_run
    env = FocusEnv(cache=out / "cache", classifier=out / "classifier", split="test")
    correct, confidences = np.zeros(6), set()
    for _ in range(20):
        env.reset()
        for t in range(6):
            info = env.step(np.int64(24))[4]
            correct[t] += info["correct"]
            confidences.add(float(info["confidence"]))
    assert len(confidences) > 60, "f_C goes on with each frame"
    # Measured on pixels: of 20 videos rounding may turn one.
    measured = row(results, "central")["accuracy_by_step"]
    assert (correct / 20).tolist() == pytest.approx(measured, abs=0.05)


def test_skipping_rows_replayed_on_the_cache(tiny_run: Run) -> None:
    """Both are measured on pixels; here f_C sees cached vectors, with zeros put in by hand."""
    out, results = tiny_run
    cache = FeatureCache.open(out / "cache")
    f_c = read_classifier(out / "classifier", cache.fingerprint)
    test = cache.split("test")
    maps, frames = cache.glance_maps(test), np.arange(6)
    plus = read_policy(out / "policy_plus", cache.fingerprint)
    with torch.no_grad():
        where = plus(maps).argmax(-1).numpy()
        keep = plus.keep(maps).numpy() >= plus.config.threshold
        middles = np.tile(np.isin(frames, [1, 3, 5]), (20, 1))  # of 3 segments of 2 frames
        everywhere = read_policy(out / "policy")(maps).argmax(-1).numpy()
    for name, options, looks in (
        ("adafocus_plus", where, keep),
        ("uniform_frames", everywhere, middles),
    ):
        local = cache.local_vectors(test[:, None], frames, options)
        with torch.no_grad():
            zeroed = local * torch.from_numpy(looks)[..., None]
            predicted = f_c(cache.glance_vectors(test), zeroed).argmax(-1)
        correct = (predicted == cache.labels[test][:, None]).double().mean(0)
        measured = row(results, name)
        assert measured["accuracy_by_step"] == pytest.approx(correct.tolist(), abs=0.05), name
        assert measured["kept_share"] == pytest.approx(looks.mean(), abs=1 / 120), name
    assert row(results, "uniform_frames")["kept_share"] == 0.5
    assert 0 < row(results, "adafocus_plus")["kept_share"] < 1


def test_costs_differ_by_what_is_run(tiny_run: Run, tiny: Recipe) -> None:
    _, results = tiny_run
    gmacs = {r["name"]: r["gmacs_per_video"] for r in results["policies"]}
    assert len({gmacs[name] for name in [*FIXED, "true_box"]}) == 1
    assert len({gmacs[name] for name in LEARNED}) == 1
    pi = PolicyConfig(4, 4, 32, 49, tiny.ppo.conv_channels, tiny.ppo.hidden)
    hidden = pi.hidden
    macs = 16 * 32 * pi.conv_channels + 16 * pi.conv_channels * hidden
    macs += 6 * hidden * hidden + hidden * 49
    assert gmacs["adafocus"] - gmacs["central"] == pytest.approx(6 * macs / 1e9)
    glance = (8**2 * 3 * 16 + 4**2 * 16 * 32 + 4**2 * 32 * 32) * 9 / 1e9
    look = gmacs["central"] / 6 - glance
    cost = FrameCost(glance, 0, look, 0)
    assert gmacs["oracle"] == pytest.approx(cost.of_video(6, policy=False, patches=49).total_gmacs)
    # f_L on 28 px; what is skipped saves it, and it alone; π′ costs what π does, but for its head.
    local = 9 * (14**2 * 3 * 16 + 7**2 * 16 * 32 + 4**2 * 32 * 64 + 4**2 * 64 * 64) / 1e9
    assert gmacs["adafocus"] - gmacs["uniform_frames"] == pytest.approx(3 * local)
    skipped = 6 * (1 - row(results, "adafocus_plus")["kept_share"])
    pi_prime = 6 * (macs - hidden * 49 + hidden) / 1e9
    assert gmacs["adafocus_plus"] == pytest.approx(gmacs["adafocus"] + pi_prime - skipped * local)


def test_no_test_video_is_trained_or_selected_on(tiny_run: Run) -> None:
    out, _ = tiny_run
    cache = FeatureCache.open(out / "cache")
    splits = [set(cache.split(name).tolist()) for name in ("train", "val", "test")]
    assert [len(rows) for rows in splits] == [40, 40, 20]
    assert len(set.union(*splits)) == 100
    folders = cache.videos["path"].map(lambda path: Path(path).parent.name)
    assert (folders == cache.videos["split"]).all()


@pytest.mark.usefixtures("drawn_before")
def test_the_second_time_everything_is_reused(
    tiny_run: Run, tiny: Recipe, capsys: pytest.CaptureFixture[str]
) -> None:
    out, results = tiny_run
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.parent != out}
    again = quickstart(QuickstartConfig(out=out), tiny)
    assert again == results
    after = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.parent != out}
    assert after == before
    shown = capsys.readouterr().out
    assert shown.count("done before, reused") == 9
    assert "adafocus_finetuned" in shown
    assert "frames kept (%)" in shown
    assert "adafocus, looking only at frames spread uniformly" in shown
    assert "quickstart --videos DIR --weights FILE" in shown


@pytest.mark.usefixtures("one_thread", "drawn_before")
def test_the_same_seed_gives_the_same_results(
    tiny_run: Run,
    tiny: Recipe,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Policies are trained in processes of their own. Told as JSON, one object alone; a report that
    is told otherwise is of the same run.

    Videos, encoders and features are copied: that these are the same is tested where they are made.
    """
    out, results = tiny_run
    config = QuickstartConfig(out=tmp_path / "again", json=True)
    for name, step, place in (
        ("make_digits", "data", 1),
        ("make_encoders", "encoders", 0),
        ("build_cache", "cache", 2),
    ):

        def copy(*arguments: Any, step: str = step, place: int = place, **_: object) -> None:
            shutil.copytree(out / step, arguments[place])

        monkeypatch.setattr(f"focusgym.runs.verbs.quickstart.{name}", copy)
    monkeypatch.setattr(local, "get_context", lambda method: get_context("fork"))  # sooner
    again = quickstart(config, replace(tiny, processes=2))
    for bundle in ("classifier", "policy", "policy_plus"):
        weights = f"{bundle}/weights.safetensors"
        assert (config.out / weights).read_bytes() == (out / weights).read_bytes()
    assert again["policies"] == results["policies"]
    assert again["parity"] == results["parity"]
    printed = capsys.readouterr()
    assert json.loads(printed.out) == again
    assert "frames kept (%)" in printed.err
    run = json.loads((config.out / "run.json").read_text())
    assert "json" not in run
    assert {"commands", "git", "versions"} <= run.keys()
    settings = yaml.safe_load((config.out / "config.yaml").read_text())["quickstart"]
    assert settings == {"seed": 0, "out": str(config.out), "videos": None, "weights": None}
    assert quickstart(replace(config, json=False), tiny) == again
    assert capsys.readouterr().out.count("done before, reused") == 9
    after = json.loads((config.out / "run.json").read_text())
    twice = {name: 2 * run[name] for name in ("commands", "devices")}
    assert after == {**run, **twice}


def test_true_centres_are_those_of_the_sampled_frames(tiny_run: Run) -> None:
    out, _ = tiny_run
    cache = FeatureCache.open(out / "cache")
    boxes = pd.read_csv(out / "data" / "boxes.csv")
    boxes["path"] = str(out / "data") + "/" + boxes["path"]
    centers = true_centers(cache, boxes)
    assert centers.shape == (100, 6, 2)
    for video in (0, 33, 99):
        of_video = boxes[boxes["path"] == cache.videos["path"][video]].set_index("frame")
        for t, frame in enumerate((1, 3, 5, 7, 9, 11)):
            left, top = of_video.loc[frame, "left"], of_video.loc[frame, "top"]
            assert centers[video, t].tolist() == [left + 10, top + 10]


def test_parity_by_hand() -> None:
    on_pixels = torch.log(torch.tensor([[[0.6, 0.4], [0.7, 0.3]]]))
    on_cache = torch.log(torch.tensor([[[0.4, 0.6], [0.8, 0.2]]]))
    measured = parity(on_pixels, on_cache, torch.tensor([0]))
    assert measured["prediction_agreement"] == 0.5
    assert measured["max_abs_confidence_difference"] == pytest.approx(0.2)
    same = parity(on_cache, on_cache, torch.tensor([0]))
    assert worst_parity([same, measured]) == measured
    assert worst_parity([same, same]) == same


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real files of another size, a folder per class; MobileNet-V2's weights beside them."""
    root, rng = tmp_path_factory.mktemp("own"), np.random.default_rng(0)
    for label, name in enumerate(("dark", "light")):
        (root / "clips" / name).mkdir(parents=True)
        for i in range(10):
            frames = rng.integers(0, 60, (5, 40, 60, 3)) + 150 * label
            write_mp4(frames.astype(np.uint8), root / "clips" / name / f"{i}.mp4")
    torch.manual_seed(0)
    network = torchvision.models.mobilenet_v2(weights=None)
    torch.save(network.state_dict(), root / "weights.pth")
    return root


def test_encoders_are_trained_on_a_users_clips(own: Path, tmp_path: Path) -> None:
    """With the preset's sections, from the weights, with BatchNorms as they were."""
    frames = {"steps": 2, "frame": 32, "resize": 36, "epochs": 1, "batch-size": 4}
    frames |= {"optimizer": "adamw", "freeze-batch-norm": True}
    patches = {"patch": 16, "grid": 3, "hidden": 8, "lr-local": 1e-3, "lr-classifier": 1e-3}
    sections = {
        "fit encoder": {**frames, "input-px": 32, "lr-encoder": 1e-3},
        "fit patches": {**frames, **patches},
    }
    recipe = replace(clips("clips_sharp"), from_weights=sections)
    fit_encoders(tmp_path / "encoders", recipe, own / "clips", own / "weights.pth", 0)
    weights = torch.load(own / "weights.pth", weights_only=True)
    for name in ("glance", "local"):
        encoder = read_encoder(tmp_path / "encoders" / name)
        assert encoder.config.name == "mobilenet_v2"
        trunk = {key.removeprefix("trunk."): value for key, value in encoder.state_dict().items()}
        assert torch.equal(trunk["features.0.1.running_var"], weights["features.0.1.running_var"])
        assert not torch.equal(trunk["features.0.0.weight"], weights["features.0.0.weight"])
    del sections["fit encoder"]
    fit_encoders(tmp_path / "kept", recipe, own / "clips", own / "weights.pth", 0)
    kept = read_encoder(tmp_path / "kept" / "glance").state_dict()
    assert torch.equal(kept["trunk.features.0.0.weight"], weights["features.0.0.weight"])
    names = {path.name for path in (tmp_path / "kept").iterdir()}
    assert names == {"glance", "local", "preset.yaml"}


def test_a_users_clips_go_the_same_way(own: Path, tmp_path: Path) -> None:
    """The whole job, with encoders as they are given."""
    fit = adamw(2, 4, classifier=1e-3)
    ppo = PPOConfig(epochs=2, n_envs=4, minibatch=2, conv_channels=2, hidden=8)
    recipe = replace(
        clips(),
        frames=FrameConfig(steps=2, frame_px=32, resize_px=36),
        patch_px=32 // 2,
        grid=3,
        hidden=8,
        classifier=fit,
        finetune=fit,
        ppo=ppo,
        ppo_plus=replace(ppo, plus=clips().ppo_plus.plus),
    )
    config = QuickstartConfig(
        out=tmp_path / "out", videos=own / "clips", weights=own / "weights.pth"
    )
    results = quickstart(config, recipe)
    assert [r["name"] for r in results["policies"]] == [*FIXED, *LEARNED, *SKIPPING, "oracle"]
    assert results["n_videos"] == 4
    assert results["parity"]["prediction_agreement"] >= 0.995
    assert results["parity"]["max_abs_confidence_difference"] <= 0.02
    assert (config.out / "patches.png").exists()
