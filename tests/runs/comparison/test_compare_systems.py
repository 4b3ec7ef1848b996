"""The verb ``compare`` with systems: a row per setting, an f_C per kind and seed, and only once."""

from __future__ import annotations

import json
import math
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import average_precision_score
from support import add_frames, write_cache

from focusgym.agents import read_segments
from focusgym.agents.systems.adafocus_v2 import ADAFOCUS_V2_PPO, ADAFOCUS_V2_SAC
from focusgym.agents.systems.adafocus_v3 import ADAFOCUS_V3
from focusgym.agents.systems.gates import FRAMEEXIT_GATES
from focusgym.agents.systems.learned_system import Learner
from focusgym.agents.systems.listentolook import LISTENTOLOOK
from focusgym.agents.systems.lite_eval import LITE_EVAL_GATES
from focusgym.agents.systems.scsampler import SCSAMPLER
from focusgym.agents.systems.whole_frames import UNIFORM
from focusgym.envs import EnvConfig, open_source
from focusgym.feature_cache import FeatureCache
from focusgym.recognizer import read_classifier
from focusgym.runs.cli import main
from focusgym.runs.comparison.cells import read_usage
from focusgym.runs.evaluation.trace import read_played
from focusgym.runs.folders.atomic import OutputError

Calls = list[list[str]]
LEARNER = "{n_envs: 3, n_steps: 5, batch_size: 5, n_epochs: 1}"
TINY = ("--seeds=1", "--decisions=30", f"--learner={LEARNER}")
OWN = UNIFORM  # found by its place below
CENTRAL = replace(UNIFORM, name="central", settings=(1.0,))  # likewise
CUBES = replace(ADAFOCUS_V3, conv_channels=2, hidden=5, epochs=1)  # likewise
_SMALL = {"n_steps": 5, "batch_size": 5, "n_epochs": 1}
_FEW = {"learning_starts": 5, "batch_size": 5, "buffer_size": 100}
V2_PPO = replace(ADAFOCUS_V2_PPO, learner=Learner(policy="MlpPolicy", n_envs=3, keywords=_SMALL))
V2_SAC = replace(ADAFOCUS_V2_SAC, learner=Learner("SAC", "MlpPolicy", n_envs=3, keywords=_FEW))
NOISY = replace(LITE_EVAL_GATES, settings=(0.5,), epochs=2)
RANKED = replace(SCSAMPLER, settings=(0.5,), epochs=2)
ATTENTIVE = replace(LISTENTOLOOK, settings=(0.5,), epochs=2)
GATED = replace(FRAMEEXIT_GATES, settings=(0.2,))
EVERY_KIND = ("V2_PPO", "V2_SAC", "NOISY", "RANKED", "ATTENTIVE", "GATED")
PRICES = ("price 0.05", "price 0.1", "price 0.2", "price 0.5")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    add_frames(write_cache(tmp_path / "cache", n=20))
    return tmp_path


def test_systems_alone(
    root: Path,
    calls: Calls,
    compare: Callable[..., Any],
    refused: Callable[..., str],
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What stands in the table is what the runs did; a second call trains nothing again."""
    arguments = ("--reward", "--systems", "frameexit,arnet", "uniform", "tsn", *TINY)
    summary = compare("c", *arguments)
    learned = [f"{name} {price}" for name in ("frameexit", "arnet") for price in PRICES]
    fixed = [f"uniform share {share}" for share in (0.8, 0.6, 0.2)]
    assert summary["labels"] == [*learned, *fixed, "tsn"]
    assert summary["groups"] == ["systems"]
    assert summary["reference"] == learned[0]
    _, classifiers, cells, static = calls
    assert [Path(each).parent.name for each in static] == [
        Path(each).parent.name for each in classifiers
    ]
    assert classifiers == [
        "c/classifiers/full32_max_pool_coarse_to_fine/seed-0",
        "c/classifiers/full32-full16_gru_gaps/seed-0",
        "c/classifiers/full32_average_video/seed-0",
        "c/classifiers/full32_average_logits_video/seed-0",
    ]
    assert len(cells) == len({*cells}) == 12
    f_c = read_classifier(root / classifiers[1]).config
    assert (f_c.aggregation, f_c.reuse_glance, f_c.local_channels) == ("gru", False, 12)
    rows = {row["label"]: row for row in summary["rows"]}
    for label, row in rows.items():
        setting = row["setting"].replace(" ", "-")
        cell = root / "c/cells/systems" / row["design"] / setting / "seed-0"
        played = read_played(cell / "played.npz")
        assert row["final_accuracy"]["value"] == played.correct[:, -1].mean()
        assert row["gmacs_per_video"] == pytest.approx(played.gmacs[:, -1].mean())
        assert sum(row["usage"].values()) == pytest.approx(row["kept_share"])
        low, high = row["final_over_videos"]
        assert low <= row["final_accuracy"]["value"] <= high
        assert row["kind"] == ("trained" if label in learned else "fixed")
    assert [*rows["arnet price 0.1"]["usage"]] == ["full32", "full16"]
    costs = [rows[label]["gmacs_per_video"] for label in fixed]
    assert costs == sorted(costs, reverse=True)
    assert any("4 settings with 30 decisions each: " in n for n in summary["notes"])
    table = pd.read_csv(root / "c" / "results.csv")
    assert table["setting"].tolist()[:4] == [*PRICES]
    every = [*rows.values(), *summary["static"]]
    np.testing.assert_allclose(table["kept_share"], [row["kept_share"] for row in every])
    assert rows["tsn"]["usage"] == {"full32": 1.0}
    assert table["usage"].tolist()[len(rows) - 1] == "full32 100"
    page = (root / "c" / "index.html").read_text()
    assert "reads, % of segments" in page
    assert "over static, same f_C" in page
    equal = {"uniform share 0.6": "2 of 4", "uniform share 0.2": "1 of 4"}
    alike = {row["setting"]: row for row in summary["static"]}
    for label, looks in equal.items():  # the system, and a static row
        row = alike[f"full32 in {looks} (full32_average_video)"]
        for what in ("final_accuracy", "gmacs_per_video", "final_over_videos"):
            assert row[what] == rows[label][what]
    assert rows["arnet price 0.1"]["gains"]["same_classifier"]["beside"]
    assert rows["tsn"]["gains"] == {"same_classifier": None, "any": None}
    gains = table["gain_over_static_any"].notna()
    assert gains.tolist() == [row["kind"] == "trained" for row in every]
    request.getfixturevalue("no_page")  # it was looked at
    again = compare("c", *arguments)
    assert again == summary
    assert not any(calls)
    gaps = root / classifiers[1]
    train_arguments = ("train", root / "d", "--system=adafuse", f"--cache={root}/cache")
    with pytest.raises(SystemExit):
        main([*map(str, train_arguments), f"--classifier={gaps}"])
    assert (
        "was trained with --order gaps --skip-rate 0, and the f_C of adafuse with --order video "
        "--skip-rate 0: give --classifier, or train one: `focusgym fit classifier"
    ) in capsys.readouterr().err
    recipe = root / "c/cells/systems/arnet/price-0.1/seed-0/recipe.json"
    recipe.write_text(recipe.read_text().replace("30", "31"))
    assert "was trained by another recipe of " in refused("c", *arguments)
    recipe.write_bytes(b"\xff\xfe\x00")
    assert "recipe.json is damaged (" in refused("c", *arguments)
    content = json.dumps({"settings": 0.1})
    recipe.write_text(content)
    (recipe.parent / "results.json").unlink()
    assert "was trained by another recipe of " in refused("c", *arguments), "begun is enough"
    recipe.unlink()
    assert "recipe.json is damaged (" in refused("c", *arguments)
    shutil.rmtree(recipe.parent)
    assert compare("c", *arguments) == summary, "the cell that was removed is trained again"
    assert calls[2] == ["c/cells/systems/arnet/price-0.1/seed-0"]
    assert json.loads(recipe.read_text())["settings"] == 0.1


@pytest.mark.parametrize(
    ("usage", "wanted"),
    [
        (None, "usage must be an object"),
        ([1], "usage must be an object"),
        ({"full32": "x"}, "usage.full32 must be a finite number"),
        ({"full32": math.nan}, "usage.full32 must be a finite number"),
        ({"full32": -1}, r"usage must be shares in \[0, 1\]"),
    ],
)
def test_results_that_are_damaged(usage: Any, wanted: str, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"usage": usage, "name": "tsn"}))
    with pytest.raises(OutputError, match=f"{path} is damaged .*{wanted}"):
        read_usage(tmp_path)
    path.write_text("{}")
    with pytest.raises(OutputError, match="usage is missing"):
        read_usage(tmp_path)


@pytest.mark.usefixtures("no_page")
def test_static_rows_are_f_c_on_those_segments(root: Path, compare: Callable[..., Any]) -> None:
    """Logits of whole sequences: a part of the segments, the glance alone elsewhere, an order."""
    summary = compare("c", "--reward", "--seeds=1", "--systems", "dynamic_ste", "frameexit", *TINY)
    rows = {row["setting"]: row for row in summary["static"]}
    costs = {}
    for f_c, looks, segments, looked in (
        ("full32_gru_video_glance_skips0.5", "1 of 4, glance in all", [0, 1, 2, 3], [0, 0, 1, 0]),
        ("full32_gru_video_glance_skips0.5", "0 of 4, glance in all", [0, 1, 2, 3], [0] * 4),
        ("full32_gru_video_glance_skips0.5", "2 of 4", [1, 3], [1, 1]),
        ("full32_max_pool_coarse_to_fine", "the first 2 of 4", [2, 0], [1, 1]),
    ):
        bundle = root / "c/classifiers" / f_c / "seed-0"
        source = open_source(EnvConfig(root / "cache", bundle, group="full32"))
        cache, videos = source.cache, source.cache.split("test")
        glance, local, _ = cache.sequences(videos, np.zeros((len(videos), 4), np.int64))
        fed = local[:, segments] * torch.tensor(looked)[:, None]
        logits = source.classifier(glance[:, segments], fed)[:, -1]
        expected = (logits.argmax(dim=-1) == cache.labels[videos]).double().mean()
        row = rows[f"full32 in {looks} ({f_c})"]
        assert row["final_accuracy"]["value"] == pytest.approx(float(expected))
        costs[looks] = row["gmacs_per_video"]
    full = source.frame_cost.local_gmacs
    assert costs["1 of 4, glance in all"] - costs["0 of 4, glance in all"] == pytest.approx(full)
    front = {label for each in summary["plane"] for label, _ in each["front"]}
    assert any(label.startswith("static ") for label in front)
    assert summary["plane"][-1]["design"] == "static"


@pytest.mark.usefixtures("no_page")
def test_a_seed_fixes_every_figure(root: Path, compare: Callable[..., Any]) -> None:
    """Trained twice in two folders: by PPO, SAC, gradient, with noise, and on labels."""
    sys.modules.setdefault("test_compare_systems", sys.modules[__name__])
    names = [f"{__name__}:{name}" for name in EVERY_KIND]
    arguments = ("--reward", "--seeds=1", "--decisions=30", "--fit-epochs=1", "--systems", *names)
    assert compare("a", *arguments) == compare("b", *arguments)
    cells = sorted((root / "a" / "cells").rglob("played.npz"))
    assert len(cells) == len(EVERY_KIND)
    for cell in cells:
        assert cell.read_bytes() == (root / "b" / cell.relative_to(root / "a")).read_bytes()
    for name in ("scsampler", "lite_eval_gates", "listentolook"):
        recipe = json.loads((root / "a/cells/systems" / name / "seed-0/recipe.json").read_text())
        assert recipe["hidden"] == 6, "the width that the comparison gives all policies"


@pytest.mark.usefixtures("no_page")
def test_systems_beside_designs(root: Path, calls: Calls, compare: Callable[..., Any]) -> None:
    """Added later; their rows stand beside the designs, and are set beside the reference."""
    designs = ("--reward", "increments", "--seeds=1")
    before = compare("c", *designs)
    assert before["groups"] == ["p12_3x3"], "whole frames are no places to look at"
    summary = compare("c", *designs, "--systems", "adafocus,gru")
    assert summary["reference"] == "increments"
    fixed = ["central", "random", "gaussian", "fixed"]
    assert summary["labels"] == ["increments", *fixed, "gru"]
    (row,) = (row for row in summary["rows"] if row["label"] == "gru")
    assert row["group"] == "p12_3x3"
    assert row["verdict"] in ("higher", "lower", "not apart")
    assert row["difference"]["final_accuracy"]["over_videos"]
    train = FeatureCache.open(root / "cache", "p12_3x3").split("train")
    note_start = f"increments: 2 epochs, {2 * 4 * len(train)} decisions for each training and seed"
    assert any(note.startswith(note_start) for note in summary["notes"])
    first = [row for row in summary["rows"] if row["label"] == "increments"]
    assert first[0]["final_accuracy"] == before["rows"][0]["final_accuracy"]


@pytest.mark.usefixtures("no_page")
def test_systems_of_patches(root: Path, calls: Calls, compare: Callable[..., Any]) -> None:
    """On the cache's patches, with one setting, and the table says that it comes near only."""
    summary = compare("c", "--reward", "--systems", "adafocus_v2_ppo", "tsn", *TINY)
    assert summary["labels"] == ["adafocus_v2_ppo", "tsn"]
    assert calls[1][0] == "c/classifiers/p12_3x3_gru_video_glance/seed-0"
    rows = {row["label"]: row for row in summary["rows"]}
    assert rows["adafocus_v2_ppo"]["usage"] == {"p12_3x3": 1.0}
    played = read_played(root / "c/cells/systems/adafocus_v2_ppo/seed-0/played.npz")
    assert rows["adafocus_v2_ppo"]["final_accuracy"]["value"] == played.correct[:, -1].mean()
    notes = " ".join(summary["notes"])
    assert "1 setting with 30 decisions each: adafocus_v2_ppo" in notes
    assert "Approximate: what adafocus_v2_ppo looked at was interpolated between" in notes


@pytest.mark.usefixtures("no_page")
def test_cubes_beside_the_same_by_reinforcement(
    root: Path, calls: Calls, compare: Callable[..., Any]
) -> None:
    """A row for each share and each price, on one f_C."""
    sys.modules.setdefault("test_compare_systems", sys.modules[__name__])
    summary = compare("c", "--reward", "--systems", f"{__name__}:CUBES", "adafocus_v3_ppo", *TINY)
    shares = [f"adafocus_v3 share {share}" for share in (0.5, 0.3)]  # 2 and 1 of 4
    prices = [f"adafocus_v3_ppo price {price}" for price in (0.1, 0.2, 0.5, 1)]
    assert summary["labels"] == [*shares, *prices]
    assert calls[1] == ["c/classifiers/p12_3x3_max_pool_shuffled_glance/seed-0"]
    rows = {row["label"]: row for row in summary["rows"]}
    assert [rows[label]["kept_share"] for label in shares] == [0.5, 0.25]
    costs = [rows[label]["gmacs_per_video"] for label in shares]
    assert costs[0] - costs[1] == pytest.approx(1.5, rel=1e-3), "a cube more"
    assert all(0.25 <= rows[label]["kept_share"] <= 0.5 for label in prices)
    notes = " ".join(summary["notes"])
    assert "Approximate: what adafocus_v3 looked at was interpolated between" in notes
    passes = "2 settings without an environment, 1 epoch each at a learning rate of 0.002"
    assert f"{passes}: adafocus_v3;" in notes


def test_several_labels(
    tmp_path_factory: pytest.TempPathFactory, root: Path, compare: Callable[..., Any]
) -> None:
    """The mean average precision is scikit-learn's, of the last scores, and has its own plane."""
    labels = [[i % 3, (i + 1) % 3] if i % 2 else [i % 3] for i in range(20)]
    cache = write_cache(tmp_path_factory.mktemp("several") / "cache", n=20, all_labels=labels)
    add_frames(cache)
    arguments = ("--reward", "--systems", "uniform", "tsn", "--seeds=2", f"--cache={cache.root}")
    summary = compare("c", *arguments)
    expected = []
    for seed in range(2):
        f_c = root / f"c/classifiers/full32_average_logits_video/seed-{seed}"
        source = open_source(EnvConfig(cache.root, f_c, group="full32"))
        videos = cache.split("test")
        logits = read_segments(source, videos, range(4)).logits[:, -1]
        hot = cache.label_matrix[videos].numpy()
        scores = logits.softmax(-1).numpy()[:, hot.any(0)]
        expected.append(average_precision_score(hot[:, hot.any(0)], scores))
    (row,) = (row for row in summary["rows"] if row["label"] == "tsn")
    assert row["seeds"] == [0, 1]
    precision = row["mean_average_precision"]
    assert precision["value"] == pytest.approx(np.mean(expected))
    assert precision["interval"] == pytest.approx(sorted(expected))
    of_rows = {r["label"]: r["mean_average_precision"]["value"] for r in summary["rows"]}
    best = max(of_rows, key=lambda label: of_rows[label])
    front = [label for each in summary["precision_plane"] for label, _ in each["front"]]
    assert best in front
    assert [e["hypervolume"]["over_videos"] for e in summary["precision_plane"]] == [None] * 3
    assert "mAP</th>" in (root / "c" / "index.html").read_text()


@pytest.mark.usefixtures("no_page")
def test_a_cache_of_clips(
    tmp_path_factory: pytest.TempPathFactory,
    root: Path,
    compare: Callable[..., Any],
    refused: Callable[..., str],
) -> None:
    """What shifts reads it; other videos are refused, in any split."""
    clips = write_cache(tmp_path_factory.mktemp("clips") / "cache", n=20, steps=1)
    add_frames(clips)
    message = refused("c", "--systems", "tsm", f"--clips-cache={clips.root}")
    assert "other true classes" in message
    table = (root / "cache" / "videos.csv").read_text()
    for split in ("train", "val"):
        first = next(line for line in table.splitlines() if f",{split}," in line)
        other = table.replace(first, first.replace(first.split(",")[0], "other.mp4", 1))
        (clips.root / "videos.csv").write_text(other)
        message = refused("c", "--systems", "tsm", f"--clips-cache={clips.root}")
        assert f"expected the {split} videos of ROOT/cache; got other.mp4 where" in message
    (clips.root / "videos.csv").write_text(table)
    summary = compare("c", "--reward", "--seeds=1", "--systems", "tsm", "tsn")
    clips_cache = f"--clips-cache={clips.root}"
    beside = compare("d", "--reward", "--seeds=1", "--systems", "tsm", "tsn", clips_cache)
    costs = [{r["label"]: r["gmacs_per_video"] for r in each["rows"]} for each in (summary, beside)]
    assert costs[0]["tsn"] == costs[1]["tsn"]
    assert costs[0]["tsm"] == pytest.approx(4 * costs[1]["tsm"]), "of one segment, not four"


def test_what_is_refused(root: Path, refused: Callable[..., str], calls: Calls) -> None:
    sys.modules.setdefault("test_compare_systems", sys.modules[__name__])
    for args, wanted in {
        ("--systems", "nope"): "`focusgym systems` lists all, and",
        ("--systems", "tsn", "tsn"): "--systems: each once; got tsn, tsn",
        ("--systems", "uniform", f"{__name__}:OWN"): f"uniform and {__name__}:OWN are both named u",
        (
            "--systems",
            "tsn",
            "gru",
            "--decisions=7",
        ): "and --systems names tsn, gru: leave",
        ("--decisions=7",): "in an environment, and --systems names none: leave",
        ("--systems", f"{__name__}:CENTRAL"): "two rows would be called central: rename the design",
        ("--systems", "arnet", "--learner=x"): "--learner 'x': expected a mapping such as",
        ("--systems", "tsn", "--runs", root): "--systems: --runs compares what is there already",
        ("--reward", "--systems", "adafocus"): "--systems adafocus: its rows are those of --reward",
        ("--reward",): "--reward: give at least one design",
    }.items():
        assert wanted in refused("c", *args), args
    assert not (root / "c").exists()
    assert calls == []


def test_a_cache_without_whole_frames(
    tmp_path_factory: pytest.TempPathFactory, refused: Callable[..., str]
) -> None:
    other = write_cache(tmp_path_factory.mktemp("other") / "cache")
    message = refused("c", "--systems", "tsn", f"--cache={other.root}")
    assert "tsn reads a group of whole frames, and there is none in" in message
