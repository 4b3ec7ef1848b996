"""``focusgym replay`` of systems that put boxes at any place, on a cache."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from browser import Browser
from stable_baselines3 import PPO

from focusgym.envs import FeatureSource, interpolated, make_sb3
from focusgym.feature_cache import FeatureCache
from focusgym.recognizer import (
    Boxes,
    PolicyConfig,
    build_policy,
    read_bundle,
    read_classifier,
    restore,
    uniform_draws,
)
from focusgym.runs.cli import main
from focusgym.runs.configs.replay import ReplayConfig
from focusgym.runs.evaluation.trace import read_played
from focusgym.runs.replays.contract import OF_OPTIONS
from focusgym.runs.verbs.replay import replay

SEED = 3
LEARNERS = {
    "adafocus_v2": "{conv_channels: 2, hidden: 5, epochs: 1, batch_size: 16}",
    "adafocus_v2_ppo": "{n_envs: 4, n_steps: 6, batch_size: 12, n_epochs: 1}",
}


@pytest.fixture(scope="module")
def systems(
    tiny_run: tuple[Path, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """Runs of both kinds, on the cache of a quickstart."""
    root, runs = tmp_path_factory.mktemp("systems"), {}
    for name, learner in LEARNERS.items():
        runs[name] = root / f"of_{name}"
        files = (f"--cache={tiny_run[0]}/cache", f"--classifier={tiny_run[0]}/classifier")
        more = ("--decisions=24",) if name.endswith("ppo") else ()
        main(["train", str(runs[name]), "--system", name, f"--learner={learner}", *files, *more])
    return runs


@pytest.fixture(scope="module")
def source(tiny_run: tuple[Path, dict[str, Any]]) -> FeatureSource:
    cache = FeatureCache.open(tiny_run[0] / "cache", "p28_7x7")
    return FeatureSource(cache, read_classifier(tiny_run[0] / "classifier"))


@pytest.fixture(scope="module")
def shown(
    systems: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    """The one that is trained by gradient beside random boxes: a stranger, and test videos."""
    out = tmp_path_factory.mktemp("replay") / "pages"
    config = ReplayConfig(
        out, systems["adafocus_v2"], videos=(5,), select=("gain",), count=1, seed=SEED, mp4=False
    )
    return out, replay(config)


def check(
    source: FeatureSource, result: dict[str, Any], which: int, rows: Any, centers: torch.Tensor
) -> None:
    """Boxes, predictions and confidences of videos are those of f_C on interpolated features."""
    cache = source.cache
    segments = np.arange(cache.steps)
    local = interpolated(cache, rows[:, None], segments[None], centers)
    with torch.no_grad():
        p = source.classifier(cache.glance_vectors(rows), local).softmax(dim=-1)  # (B, T, C)
    boxes = Boxes(64, 28).boxes_at(centers)
    videos = {video["row"]: video for video in result["videos"]}
    assert {*videos} <= {*rows.tolist()}
    for i, row in enumerate(rows.tolist()):
        if row not in videos:
            continue
        episode = videos[row]["episodes"][which]
        np.testing.assert_allclose(episode["boxes_px"], boxes[i], atol=6e-4)
        label = int(cache.labels[row])
        assert episode["confidences"] == pytest.approx(p[i, :, label].tolist(), abs=1e-5)
        best = p[i].argmax(dim=-1)
        assert episode["predictions"] == [result["classes"][int(each)] for each in best]
        assert {key: episode[key] for key in OF_OPTIONS} == dict.fromkeys(OF_OPTIONS)


def test_numbers_are_those_of_the_cache(
    shown: tuple[Path, dict[str, Any]], systems: dict[str, Path], source: FeatureSource
) -> None:
    _, result = shown
    run, cache = systems["adafocus_v2"], source.cache
    names = [(policy["name"], policy["learned"]) for policy in result["policies"]]
    assert names == [("adafocus_v2", True), ("random boxes", False)]
    test = cache.split("test")
    rows = np.append(test, 5)
    bundle = read_bundle(run / "trained", "policy", cache.fingerprint)
    policy = restore(run / "trained", bundle, lambda sizes: build_policy(PolicyConfig(**sizes)))
    with torch.no_grad():
        named, _ = policy.eval().choose(cache.stored_glance_maps(rows))
    check(source, result, 0, rows, named)
    draws = uniform_draws(range(len(rows)), cache.steps, [SEED, 20, 0]).float()
    check(source, result, 1, rows, draws)
    played = read_played(run / "played.npz")
    first, second = result["overview"]["policies"]
    assert first["accuracy_by_step"] == pytest.approx(played.accuracy_by_step.tolist())
    assert first["gmacs_by_step"] == pytest.approx(played.gmacs_by_step.tolist())
    for each in (first, second):
        assert sum(each["gmacs_by_network"].values()) == pytest.approx(each["gmacs_by_step"][-1])
    assert first["gmacs_by_network"]["policy_gmacs"] > 0
    assert second["gmacs_by_network"]["policy_gmacs"] == 0
    assert (result["cache"], result["grid"], result["patch_px"]) == (cache.fingerprint, None, 28)
    assert (
        result["notes"]
        == ["adafocus_v2 may look anywhere: there are no options to lose confidence to"][
            : len(result["notes"])
        ]
    )


def test_the_pages_say_that_they_come_near(
    shown: tuple[Path, dict[str, Any]], browser: Browser
) -> None:
    out, result = shown
    for page in ("index.html", "overview.html"):
        browser.open(out / page)
        (about,) = browser.texts("#about")
        assert f"{result['approximate']}." in about
        assert "are approximate: the features of a box were interpolated" in about
        assert "may be at any place of the frame" in browser.texts("[data-absent]")[0]


def test_one_that_was_trained_by_ppo(
    systems: dict[str, Path],
    source: FeatureSource,
    tiny_run: tuple[Path, dict[str, Any]],
    tmp_path: Path,
) -> None:
    """Its boxes are what its model names, step by step; beside the other system."""
    run = systems["adafocus_v2_ppo"]
    config = ReplayConfig(
        tmp_path / "out", run, systems["adafocus_v2"], videos=(5, 7), split="val", mp4=False
    )
    result = replay(config)
    assert [each["name"] for each in result["policies"]] == ["adafocus_v2_ppo", "adafocus_v2"]
    files = {"cache": tiny_run[0] / "cache", "classifier": tiny_run[0] / "classifier"}
    how = {"videos": [5, 7], "order": "listed", "split": None, "observation": "map"}
    env = make_sb3("focusgym/Boxes-v0", 2, group="p28_7x7", **files, **how)
    model, maps, named = PPO.load(run / "model.zip"), env.reset(), []
    for _ in range(source.cache.steps):
        actions, _ = model.predict(maps, deterministic=True)
        named.append(torch.from_numpy(actions))
        maps = env.step(actions)[0]
    check(source, result, 0, np.array([5, 7]), torch.stack(named, dim=1))


def test_what_is_refused(
    systems: dict[str, Path],
    tiny_run: tuple[Path, dict[str, Any]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run, policy = systems["adafocus_v2"], tiny_run[0] / "policy"
    again = shutil.copytree(run, tmp_path / "again")
    (again / "results.json").unlink()
    for args, wanted in (
        ((run, "--second", policy), f"{run} is a run of a system; "),
        ((policy, "--second", run), f"{policy} is no such run: expected two of one kind; give"),
        ((run, "--cache", "c"), f"--cache: {run} is a run of a system, which is shown on what it"),
        ((run, "--classifier", "c"), "--classifier: "),
        ((run, "--reward", "confidence"), "--reward: "),
        ((run, "--select", "regret"), "there is nothing to show (adafocus_v2 may look anywhere"),
        ((again,), f"{again} is a run that is not finished: `focusgym train {again} --resume`"),
    ):
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main(["replay", str(tmp_path / "out"), "--policy", *map(str, args)])
        assert caught.value.code == 2
        assert wanted in capsys.readouterr().err, args
        assert not (tmp_path / "out").exists()
