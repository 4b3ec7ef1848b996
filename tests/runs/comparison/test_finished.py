"""Finished runs beside each other."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from comparisons import HOW

from focusgym.feature_cache import FeatureCache
from focusgym.recognizer import read_classifier, write_bundle
from focusgym.runs.cli import main
from focusgym.runs.evaluation.trace import read_played


def test_runs_that_are_there(
    root: Path,
    compare: Callable[..., Any],
    refused: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Rows are named by what the runs differ in; seeds of a row stand together."""
    compare("c", "--reward", "increments", "--seeds=1")
    files = (f"--cache={root}/cache", f"--classifier={root}/c/classifiers/p12_3x3/seed-0")
    settings: dict[str, tuple[str, ...]] = {
        "a": ("--lr=0.1",),
        "b": ("--lr=0.1", "--seed=1"),
        "d": ("--lr=0.2", "--reward={name: increment_over_random, draws: null}"),
        "e": ("--lr=0.1", "--plus"),
    }
    for name, options in settings.items():
        main(["train", str(root / name), *files, *HOW[:5], *options])
    monkeypatch.chdir(root)
    summary = compare("r", "--runs", "a", "b", "d")
    lr = ["lr=0.1, increment_over_random", "lr=0.2, increment_over_random(draws=null)"]
    assert summary["labels"] == lr
    rows = summary["rows"]
    assert [row["seeds"] for row in rows] == [[0, 1], [0]]
    for row, names in zip(rows, ("ab", "d"), strict=True):
        wanted = [read_played(root / n / "played.npz").accuracy_by_step[-1] for n in names]
        assert row["final_accuracy"]["value"] == pytest.approx(np.mean(wanted))
    # Other runs in the same folder; of one design; and AdaFocus+.
    assert compare("s", "--runs", "a", "b")["labels"] == ["increment_over_random"]
    plus = compare("p", "--runs", "a", "e", "--keep-ratios", "0.5", "--reference", "plus=False")
    assert plus["labels"] == ["plus=False", "plus=True η=0.5"]

    assert refused("x", "--runs", "a", "a").startswith("--runs ROOT/a: there is already a run with")
    assert refused("x", "--runs", "a", "cache").startswith(
        "ROOT/cache is no run of `focusgym train`: give a folder that `focusgym train` wrote"
    )
    assert "is a run of `focusgym compare`, not of" in refused("x", "--runs", "c")
    assert refused("x", "--runs", "a", "d", "--reference=nope") == (
        f"--reference nope: no such row; choose one of {', '.join(lr)}"
    )
    shutil.copytree(root / "a", root / "f")
    other = read_classifier(root / "c/classifiers/p12_3x3/seed-0")
    with torch.no_grad():
        other.head.bias.add_(1)
    fingerprint = FeatureCache.open(root / "cache").fingerprint
    write_bundle(root / "f_c", "classifier", other.config, other, fingerprint)
    settings_file = root / "f" / "config.yaml"
    text = settings_file.read_text().replace(f"{root}/c/classifiers/p12_3x3/seed-0", f"{root}/f_c")
    settings_file.write_text(text)
    assert refused("x", "--runs", "a", "f") == (
        "--runs ROOT/f: has another f_C than ROOT/a, of the same seed, on p12_3x3: compare runs "
        "with the same cache and classifier"
    )
    (root / "d" / "results.json").unlink()
    assert refused("x", "--runs", "a", "d") == (
        "--runs ROOT/d: is not finished: `focusgym train ROOT/d --resume` goes on"
    )
    assert not (root / "x").exists()
