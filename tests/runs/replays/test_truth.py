"""``focusgym replay`` where the truth is not plain: no box, augmented copies, several labels."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from focusgym.agents import read_policy
from focusgym.envs import FeatureSource, FocusEngine
from focusgym.feature_cache import FeatureCache
from focusgym.recognizer import read_classifier
from focusgym.runs.configs.replay import ReplayConfig
from focusgym.runs.verbs.replay import replay


@pytest.fixture(scope="module")
def run(tiny_run: tuple[Path, dict[str, Any]]) -> Path:
    return tiny_run[0]


def test_boxes_of_other_videos_are_said_to_be(run: Path, tmp_path: Path) -> None:
    other = pd.read_csv(run / "data" / "boxes.csv").head(20)
    other.to_csv(tmp_path / "boxes.csv", index=False)
    result = replay(
        ReplayConfig(
            tmp_path / "out",
            run / "policy",
            videos=(99,),
            boxes=tmp_path / "boxes.csv",
            mp4=False,
        )
    )
    assert result["notes"] == ["the table of boxes has none of these frames"]
    assert result["videos"][0]["true_boxes"] == [None] * result["steps"]


def test_augmented_copies_have_no_true_box(run: Path, tmp_path: Path) -> None:
    """Theirs are cropped and mirrored in another way; a note says so."""
    shutil.copytree(run / "cache", tmp_path / "cache")
    table = pd.read_csv(tmp_path / "cache" / "videos.csv")
    table.loc[3, "view"] = 0
    table.to_csv(tmp_path / "cache" / "videos.csv", index=False)
    boxes = run / "data" / "boxes.csv"
    config = ReplayConfig(
        tmp_path / "out",
        run / "policy",
        None,
        tmp_path / "cache",
        run / "classifier",
        videos=(3, 99),
        boxes=boxes,
        mp4=False,
    )
    augmented, central = (result := replay(config))["videos"]
    assert augmented["true_boxes"] == [None] * result["steps"]
    assert all(central["true_boxes"])
    assert [note.split(":")[0] for note in result["notes"]] == [
        "augmented copies are shown without true boxes"
    ]


def test_any_of_several_labels_is_right(run: Path, tmp_path: Path) -> None:
    """And confidence is the mean over them; everything else by hand from one label each."""
    shutil.copytree(run / "cache", tmp_path / "cache")
    cache = FeatureCache.open(run / "cache")
    row, first = 99, int(cache.labels[99])
    engine = FocusEngine(FeatureSource(cache, read_classifier(run / "classifier")))
    options, _ = read_policy(run / "policy").choose(cache.glance_maps(np.array([row])))
    p = engine.rollout(np.array([row]), options.numpy())[0].softmax(dim=-1)
    second = next(c for c in p[-1].argsort(descending=True).tolist() if c != first)
    table = pd.read_csv(tmp_path / "cache" / "videos.csv").astype({"labels": str})
    table.loc[row, "labels"] = f"{first};{second}"
    table.to_csv(tmp_path / "cache" / "videos.csv", index=False)
    config = ReplayConfig(
        tmp_path / "out", run / "policy", None, tmp_path / "cache", run / "classifier"
    )
    result = replay(replace(config, videos=(row, 98), mp4=False))
    assert result["several_labels"]
    several, other = result["videos"]
    episode = several["episodes"][0]
    expected = p[:, [first, second]].mean(dim=1).tolist()
    assert episode["confidences"] == pytest.approx(expected, abs=1e-5)
    played = [
        tried[k] for tried, k in zip(episode["alternatives"], episode["options"], strict=True)
    ]
    assert played == pytest.approx(expected, abs=1e-5)
    assert episode["correct"] == [best in (first, second) for best in p.argmax(dim=1).tolist()]
    usual = replay(ReplayConfig(tmp_path / "one", run / "policy", videos=(row, 98), mp4=False))
    assert not usual["several_labels"]
    assert usual["videos"][1]["episodes"][0] == other["episodes"][0]
