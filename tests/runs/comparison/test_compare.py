"""The verb ``compare``: each cell is trained once, and is the run that ``train`` would give."""

from __future__ import annotations

import gc
import json
import os
import shutil
import signal
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from comparisons import HOW
from kills import in_children, kill_at_checkpoint
from support import write_cache

from focusgym.agents import keep_threshold, read_policy
from focusgym.agents.checkpoints import checkpoint
from focusgym.envs import FeatureSource
from focusgym.feature_cache import FeatureCache
from focusgym.recognizer import read_classifier
from focusgym.runs.cli import main
from focusgym.runs.comparison import grid
from focusgym.runs.comparison.grid import fit_classifier
from focusgym.runs.configs.train import TrainConfig
from focusgym.runs.evaluation.trace import read_played
from focusgym.runs.executors import local
from focusgym.runs.executors.units import FailedError
from focusgym.runs.training.policy_run import run_training

Calls = list[list[str]]
SHORT = ("--epochs=1", "--fit-epochs=1")  # where a test asks what is trained, not how well
CPUS = os.cpu_count() or 1
MOST = max(64, 4 * CPUS)  # threads, or processes


def content_of(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_cells_are_runs(root: Path, calls: Calls, compare: Callable[..., Any]) -> None:
    """What stands in the table was measured on policies that ``train`` trains."""
    summary = compare(
        *("c", "--reward", "increments", "{name: confidence}", "--seeds=2"),
        *("--plus", "--keep-ratios", 0.25, 1.0, "--lr=0.05"),
    )
    assert summary["labels"] == [
        *("increments", "confidence", "adafocus_plus η=0.25", "adafocus_plus η=1"),
        *("central", "random", "gaussian", "fixed"),
    ]
    assert summary["reference"] == "increments"
    cells = [
        f"c/cells/p12_3x3/{design}/seed-{seed}"
        for seed in (0, 1)
        for design in ("increments", "confidence", "adafocus_plus-increments")
    ]
    assert calls == [[f"c/classifiers/p12_3x3/seed-{seed}" for seed in (0, 1)], cells]
    cache = FeatureCache.open(root / "cache")
    for row in summary["rows"]:
        assert row["group"] == "p12_3x3"
        assert row["n_videos"] == len(cache.split("test"))
        assert row["seeds"] == [0, 1]
    by_label = {row["label"]: row for row in summary["rows"]}
    # A cell by itself.
    cell = root / cells[1]
    main(["train", str(root / "alone"), "--preset", str(cell / "config.yaml")])
    assert (root / "alone" / "played.npz").read_bytes() == (cell / "played.npz").read_bytes()
    accuracy = [read_played(root / c / "played.npz").accuracy_by_step[-1] for c in cells[1::3]]
    assert by_label["confidence"]["final_accuracy"]["value"] == pytest.approx(np.mean(accuracy))
    # AdaFocus+ at a share: ρ solved for it, π unchanged.
    shares = []
    for name in cells[2::3]:
        policy = read_policy(root / name / "policy")
        assert policy.keep is not None
        threshold = keep_threshold(policy, cache, cache.split("train"), 0.25)
        maps = cache.glance_maps(cache.split("test"))
        shares.append(float((policy.keep(maps) >= threshold).float().mean()))
    assert by_label["adafocus_plus η=0.25"]["kept_share"] == pytest.approx(np.mean(shares))
    assert by_label["adafocus_plus η=1"]["kept_share"] == 1.0
    table = pd.read_csv(root / "c" / "results.csv")
    assert table["design"].tolist() == [row["design"] for row in summary["rows"]]
    np.testing.assert_allclose(
        table["final_accuracy"], [row["final_accuracy"]["value"] for row in summary["rows"]]
    )
    assert "<html" in (root / "c" / "index.html").read_text()


@pytest.mark.usefixtures("no_page")
def test_only_what_is_missing(root: Path, calls: Calls, compare: Callable[..., Any]) -> None:
    """More seeds, more designs, another first one, AdaFocus+; what is done is not touched."""
    cells = "c/cells/p12_3x3"
    compare("c", *SHORT, "--reward", "increments", "--seeds=1")
    before = content_of(root / cells)
    grown = (
        ("--reward", "increments", "--seeds=2"),
        ("--reward", "confidence", "increments", "--seeds=2"),
        ("--reward", "confidence", "increments", "--seeds=2", "--plus", "--keep-ratios", 0.5),
        ("--reward", "increments", "confidence", "--seeds=2", "--plus", "--keep-ratios", 0.5),
        ("--reward", "increments", "confidence", "--seeds=2", "--plus", "--keep-ratios", 0.5, 1),
    )
    wanted = (
        ["increments/seed-1"],
        ["confidence/seed-0", "confidence/seed-1"],
        ["adafocus_plus-confidence/seed-0", "adafocus_plus-confidence/seed-1"],
        ["adafocus_plus-increments/seed-0", "adafocus_plus-increments/seed-1"],
        # Another share of what is trained.
        ["adafocus_plus-increments/seed-0", "adafocus_plus-increments/seed-1"],
    )
    for args, trained in zip(grown, wanted, strict=True):
        weights = root / cells / trained[0] / "policy" / "weights.safetensors"
        stored_bytes = weights.read_bytes() if weights.exists() else None
        args = (*SHORT, *args)
        summary = compare("c", *args)
        f_c = ["c/classifiers/p12_3x3/seed-1"] if trained is wanted[0] else []
        assert calls == [f_c, [f"{cells}/{name}" for name in trained]]
        assert stored_bytes in (None, weights.read_bytes())
        assert before.items() <= content_of(root / cells).items()
    assert summary == compare("c", *args)
    assert calls == [[], []]
    assert summary == compare("new", *args)
    # Both renamed, each for itself.
    (root / "c").rename(root / "moved")
    (root / "cache").rename(root / "features")
    assert summary == compare("moved", *args, f"--cache={root / 'features'}")
    assert calls == [[], []]
    assert len(json.loads((root / "moved" / "run.json").read_text())["commands"]) == 8


@pytest.mark.usefixtures("no_page")
def test_a_comparison_only_grows(
    compare: Callable[..., Any], refused: Callable[..., str], root: Path
) -> None:
    """A table with five seeds is not replaced by one with two by a slip."""
    grown = ("--reward", "increments", "confidence", "--seeds=2")
    compare("c", *SHORT, *grown)
    before = content_of(root / "c")
    for less, gone in (
        (("--reward", "increments", "confidence", "--seeds=1"), "seeds 1 to 1"),
        (("--reward", "increments", "--seeds=2"), "confidence"),
    ):
        assert refused("c", *SHORT, *less) == (
            f"ROOT/c compares more than is asked for now ({gone}): a comparison only grows; ask "
            "for that too, or give another folder"
        )
        assert content_of(root / "c") == before


@pytest.mark.usefixtures("no_page")
def test_the_reference(compare: Callable[..., Any], refused: Callable[..., str]) -> None:
    reward = ("--reward", "increments", "{name: increment_over_random, draws: null}", "--seeds=1")
    message = refused("c", *reward, "--reference=nope")
    assert message == (
        "--reference nope: no such row; choose one of increments, "
        "increment_over_random(draws=null), central, random, gaussian, fixed"
    )
    named = compare("c", *reward, "--reference", reward[2])
    assert named["reference"] == "increment_over_random(draws=null)"
    bounded = compare("c", *reward, "--reference=random", "--oracle")
    assert bounded["reference"] == "random"
    rows = {row["label"]: row for row in bounded["rows"]}
    assert rows["oracle"]["kind"] == "bound"
    # It tries all 9 patches, where random ones pay for one.
    costs = [rows[name]["gmacs_per_video"] for name in ("random", "oracle")]
    assert costs[1] > 2 * costs[0]
    first = {name: row["accuracy_by_step"]["value"][0] for name, row in rows.items()}
    assert first["oracle"] >= first["random"]
    assert "(the oracle)" in refused("c", *reward)


def test_what_is_refused(root: Path, refused: Callable[..., str], calls: Calls) -> None:
    """Before anything is trained, and nothing is left behind."""
    before = content_of(root)
    for args, wanted in {
        ("--patch", 33): "patch_px must be in 1..32 (the frame side); got 33",
        ("--patch", 8, 8): "--patch: each size once; got 8, 8",
        ("--keep-ratios", 0): "--keep-ratios must be in (0, 1], a share of the frames; got 0.0",
        ("--keep-ratios", 0.5, 0.50000001): "--keep-ratios: each share once, and with --plus at",
        ("--plus", "--keep-ratios"): "--keep-ratios: each share once, and with --plus at least one",
        ("--patch", 32): "a patch of 32 px has 1 different place per axis in a frame of 32 px",
        ("--patch", 8, 27): "would be equal: choose at most 6 options per axis or a patch of at",
        ("--seeds", 0): "--seeds must be an integer of at least 1; got 0",
        ("--jobs", 0): f"--jobs must be in 1..{MOST} (the larger of 64 and four times the {CPUS} ",
        ("--jobs", 10**6): f"CPUs of this machine); got {10**6}",
        ("--threads", MOST + 1): f"--threads must be in 1..{MOST} (the larger of 64 and four times",
        ("--reward",): "--reward: give at least one design",
        ("--oracle", "--reward"): "--reward: give at least one design",
        ("--oracle", "--reward", "--systems", "gru"): "--oracle: beside designs that are trained",
        ("--reward", "nope"): "reward must be one of",
        ("--reward", "increments", "{name: increments}"): "--reward: each design once; got",
        (
            "--reward",
            "--systems",
            "gru",
            "--variants",
            "no_glance",
        ): "--variants: of a reward design",
        ("--variants", "no_glance", "--no-fit-reuse-glance"): "no row reads the glance: leave one",
        ("--n-envs", 7): "minibatch must divide n_envs",
        ("--cache", root / "x"): "ROOT/x is not a complete feature cache",
    }.items():
        assert wanted in refused("c", *args), args
    (root / "mine").mkdir()
    (root / "mine" / "file").write_text("precious")
    assert refused("mine") == ("ROOT/mine exists: nothing was touched; give another folder")
    assert content_of(root) == before | {root / "mine" / "file": b"precious"}
    assert calls == []


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_split_that_is_empty(split: str, root: Path, refused: Callable[..., str]) -> None:
    table = root / "cache" / "videos.csv"
    other = "val" if split == "train" else "train"
    table.write_text(table.read_text().replace(f",{split},", f",{other},"))
    assert f"split '{split}' has no videos in ROOT/cache" in refused("c")
    assert not (root / "c").exists()


@pytest.mark.usefixtures("no_page")
def test_other_settings(
    root: Path, compare: Callable[..., Any], refused: Callable[..., str]
) -> None:
    compare("c", "--reward", "increments", "--seeds=1")
    before = content_of(root / "c")
    for option, wanted in {
        "--lr=0.5": "lr was 0.001, is 0.5",
        "--fit-epochs=3": "fit-epochs was 2, is 3",
    }.items():
        message = refused("c", "--reward", "increments", option)
        assert message == (
            f"ROOT/c was begun with other settings ({wanted}): go on with those it was begun with, "
            "or give another folder"
        )
    shutil.rmtree(root / "cache")
    write_cache(root / "cache", n=20, seed=1)
    message = refused("c", "--reward", "increments")
    assert "ROOT/c was begun on other data (p12_3x3 in ROOT/cache had the fingerprint " in message
    cell = "c/cells/p12_3x3/increments/seed-0"
    message = refused(cell, "--reward", "increments")
    assert f"ROOT/{cell} is a run of `focusgym train`, not of `focusgym compare`" in message
    assert content_of(root / "c") == before


@pytest.mark.usefixtures("one_thread")
def test_a_cell_that_fails(
    root: Path, calls: Calls, compare: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As another process at it, or files in the way, would make it."""
    cell = root / "c" / "cells" / "p12_3x3" / "increments" / "seed-0"
    compare("c", *SHORT, "--reward", "confidence", "--seeds=1")
    cell.mkdir(parents=True)
    monkeypatch.undo()
    monkeypatch.setattr(local, "get_context", lambda method: get_context("fork"))  # sooner
    args = ["compare", str(root / "c"), f"--cache={root}/cache", *HOW, *SHORT, "--seeds=1"]
    args += ["--reward", "confidence", "increments", "padding", "--jobs=1"]
    with pytest.raises(SystemExit) as caught:
        main(args)
    assert isinstance(caught.value.__context__, FailedError)
    message = str(caught.value.__context__)
    assert message.splitlines()[:2] == [
        "stage II: 1 of 2 failed, the others are kept:",
        f"  {cell}: {cell} exists: nothing was touched; --resume goes on with an interrupted run, "
        "or give another folder",
    ]
    assert (root / "c" / "cells" / "p12_3x3" / "padding" / "seed-0" / "results.json").is_file()


@pytest.mark.usefixtures("no_page")
def test_killed_and_gone_on_with(root: Path, compare: Callable[..., Any], calls: Calls) -> None:
    """In the second cell, at its first checkpoint; the same command ends with the same numbers."""
    args = ("--reward", "increments", "--seeds=2", "--jobs=1")
    uninterrupted = compare("whole", *args)
    cells = [name.replace("whole", "c", 1) for name in calls[1]]

    def killed(config: TrainConfig) -> Any:
        if config.seed == 1:
            kill_at_checkpoint(checkpoint, 1, half_written=False)
        return run_training(config, checkpoint_s=0)

    def act() -> None:
        grid.run_training = killed
        main(["compare", str(root / "c"), f"--cache={root}/cache", *HOW, *args])

    ended = in_children(act)
    assert ended.codes == [-signal.SIGKILL], ended.err
    done = root / cells[0] / "results.json"
    assert done.exists()
    assert (root / cells[1] / "checkpoint.safetensors").exists()
    weights = done.with_name("policy") / "weights.safetensors"
    before = weights.stat().st_mtime_ns
    assert compare("c", *args) == uninterrupted
    assert calls[1] == [cells[1]]
    assert weights.stat().st_mtime_ns == before
    same = ("played.npz", "weights.safetensors", "results.csv")
    for path in (root / "whole").rglob("*"):
        if path.name in same:
            other = root / "c" / path.relative_to(root / "whole")
            assert other.read_bytes() == path.read_bytes(), path


@pytest.mark.usefixtures("no_page")
def test_variants_of_the_first_design(
    root: Path,
    compare: Callable[..., Any],
    refused: Callable[..., str],
    calls: Calls,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Table 4, and stage III beside its control: trained once, each on what its name says."""
    args = ("--reward", "increments", "confidence", "--seeds=1", "--fit-epochs=6")
    summary = compare("c", *args, "--variants", "no_glance", "stage_three")
    cell = "c/cells/p12_3x3/increments/seed-0"
    assert calls[-1] == [f"{cell}/stage_three"]
    tuned = [f"{cell}/stage_three/{bundle}" for bundle in ("adafocus", "random")]
    names = ["no_glance", "stage_three", "stage_three_control"]
    labels = ["increments", "confidence", *(f"increments {name}" for name in names)]
    fixed = ["central", "random", "gaussian", "fixed"]
    fixed += [f"{name} no_glance" for name in fixed]
    assert {*summary["labels"]} == {*labels, *fixed}
    without = read_classifier(root / "c/classifiers/p12_3x3_no_glance/seed-0")
    assert not without.config.reuse_glance
    rows = {row["label"]: row for row in summary["rows"]}
    for name, row in zip(tuned, (rows[f"increments {name}"] for name in names[1:]), strict=True):
        main(["evaluate", str(root / cell), f"--classifier={root / name}", "--json"])
        evaluated = json.loads(capsys.readouterr().out)["policies"][0]
        assert row["accuracy_by_step"]["value"] == pytest.approx(evaluated["accuracy_by_step"])
    assert summary == compare("c", *args, "--variants", "stage_three", "no_glance")
    assert not any(calls)
    other = ("--reward", "confidence", "increments", *args[3:], "--variants", *names[:2])
    assert "(variants of increments, which came first)" in refused("c", *other)


@pytest.mark.usefixtures("no_page")
def test_an_interrupted_f_c_goes_on(
    root: Path, compare: Callable[..., Any], calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    args = (*SHORT, "--reward", "increments", "--seeds=1")
    uninterrupted = compare("whole", *args)

    def stop(config: Any, device: Any) -> None:
        fit_classifier(config, device)
        raise KeyboardInterrupt

    monkeypatch.setattr("focusgym.runs.comparison.grid.fit_classifier", stop)
    with pytest.raises(SystemExit) as caught:
        compare("c", *args)
    assert caught.value.code == 130
    monkeypatch.setattr("focusgym.runs.comparison.grid.fit_classifier", fit_classifier)
    assert compare("c", *args) == uninterrupted
    assert calls[0] == []


@pytest.mark.usefixtures("no_page")
def test_cells_of_a_group_share_what_is_projected(
    compare: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each training and test video once for a seed's cells; val and test for fixed policies."""
    projected: list[int] = []
    real = FeatureSource._project_all

    def spy(self: FeatureSource, video: int) -> torch.Tensor:
        projected.append(int(video))
        return real(self, video)

    def alone(config: TrainConfig) -> Any:
        gc.collect()  # what the cell before left lying about is gone
        return run_training(config)

    monkeypatch.setattr(FeatureSource, "_project_all", spy)
    monkeypatch.setattr("focusgym.runs.comparison.grid.run_training", alone)
    compare("c", *SHORT, "--reward", "increments", "confidence", "--seeds=2")
    assert len(projected) == 2 * (12 + 4 + 4 + 4)
