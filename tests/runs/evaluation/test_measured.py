"""What a quickstart has measured is read again only if it tells of its cache."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import T, write_cache

from focusgym.feature_cache import FeatureCache
from focusgym.recognizer import BundleError
from focusgym.recognizer.files.bundle import Bundle
from focusgym.runs.evaluation.measured import read_measured
from focusgym.runs.folders.atomic import OutputError
from focusgym.runs.training.stages import kept_of

ROW = {"accuracy_by_step": [0.5] * T, "kept_share": 1.0, "gmacs_per_video": 0.1, "accuracy": 0.5}
PARITY = {"prediction_agreement": 1.0, "max_abs_confidence_difference": 1e-7}


@pytest.fixture
def cache(tmp_path: Path) -> FeatureCache:
    return write_cache(tmp_path / "cache")


def write(folder: Path, cache: FeatureCache, **changes: Any) -> dict[str, Any]:
    """Write what was measured on a cache; return the figures."""
    folder.mkdir(exist_ok=True)
    shape = len(cache.split("test")), T
    policies = [{"name": name, **ROW} for name in ("random", "adafocus")]
    results = {"seed": 0, "n_videos": shape[0], "steps": T, "policies": policies}
    results |= {"parity": PARITY, **changes}
    (folder / "results.json").write_text(json.dumps(results))
    np.save(folder / "options.npy", np.full(shape, 3))
    return results


def test_what_was_measured(cache: FeatureCache, tmp_path: Path) -> None:
    expected = write(tmp_path / "e", cache)
    results, options = read_measured(tmp_path / "e", cache)
    assert results == expected
    np.testing.assert_array_equal(options, np.full((2, T), 3))


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"n_videos": 3}, "expected policies in 2 videos of 4 steps; got 3 of 4"),
        ({"steps": 10**9}, "got 2 of 1000000000"),
        ({"policies": []}, "with accuracies after"),
        ({"policies": [{"name": "nobody", **ROW}]}, "expected one of random, .*; got 'nobody'"),
        ({"policies": [{"name": "random", **ROW, "kept_share": math.nan}]}, "kept_share must be a"),
        ({"policies": [{"name": "random", **ROW, "gmacs_per_video": -1}]}, "and a cost; got"),
        ({"policies": [{"name": "random", **ROW, "accuracy_by_step": [2.0] * T}]}, "shares in "),
        ({"policies": [{"name": "random"}]}, "policies.accuracy_by_step is missing"),
        ({"parity": {}}, "parity.prediction_agreement is missing"),
    ],
)
def test_figures_that_are_damaged(
    cache: FeatureCache, tmp_path: Path, changes: dict[str, Any], wanted: str
) -> None:
    folder = tmp_path / "e"
    write(folder, cache, **changes)
    with pytest.raises(OutputError, match=f"{folder} does not say what was measured .*{wanted}"):
        read_measured(folder, cache)


@pytest.mark.parametrize(
    ("damage", "wanted"),
    [
        (lambda path: path.write_bytes(b"x"), "no readable header"),
        (lambda path: path.unlink(), "No such file"),
        (lambda path: np.save(path, np.full((2, T + 1), 3)), r"int64 of shape \(2, 4\); got int64"),
        (lambda path: np.save(path, np.full((2, T), 3.0)), "got float64"),
        (lambda path: np.save(path, np.full((2, T), -1)), r"expected options in \[0, 9\)"),
    ],
)
def test_options_that_are_damaged(
    cache: FeatureCache, tmp_path: Path, damage: Callable[[Path], Any], wanted: str
) -> None:
    write(tmp_path / "e", cache)
    damage(tmp_path / "e" / "options.npy")
    with pytest.raises(OutputError, match=wanted):
        read_measured(tmp_path / "e", cache)


def test_what_a_bundle_says_of_its_epoch() -> None:
    metrics = {"epoch": 3.0, "val_accuracy": 0.5, "val_loss": 1.25}
    kept = kept_of(Path("a"), Bundle("classifier", {}, {}, None, metrics))
    assert (kept.epoch, kept.val_accuracy, kept.val_loss) == (3, 0.5, 1.25)
    del metrics["epoch"]
    with pytest.raises(BundleError, match="a: 'epoch' is missing in its metrics"):
        kept_of(Path("a"), Bundle("classifier", {}, {}, None, metrics))
