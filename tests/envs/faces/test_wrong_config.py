"""Environments that cannot be opened: what the errors say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import pytest
from gymnasium.vector import AutoresetMode
from support import add_group, write_cache

from focusgym.envs import (
    FocusEnv,
    FocusVectorEnv,
    make_sb3,
)
from focusgym.feature_cache import CacheError, FeatureCache
from focusgym.recognizer import BundleError


def single(**config: Any) -> Any:
    return gymnasium.make("focusgym/AdaFocus-v0", **config)


def vector(**config: Any) -> Any:
    return gymnasium.make_vec("focusgym/AdaFocus-v0", 2, **config)


def batch(**config: Any) -> Any:
    return make_sb3("focusgym/AdaFocus-v0", 2, **config)


FACES: list[Callable[..., Any]] = [single, vector, batch]
every_face = pytest.mark.parametrize("face", FACES)


@every_face
@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"observation": "pixels"},
            "observation must be 'map' or 'index' or 'state'; got 'pixels'",
        ),
        ({"order": "sorted"}, "order must be 'shuffled' or 'listed'; got 'sorted'"),
        ({"labels": "all"}, "labels must be 'first' or 'mean'; got 'all'"),
        (
            {"policy_gmacs": -1.0},
            "policy_gmacs must be a finite number of at least 0; got -1.0",
        ),
        (
            {"projection_bytes": -1},
            "projection_bytes must be an integer of at least 0; got -1",
        ),
        ({"seed": -1}, "seed must be an integer of at least 0; got -1"),
        ({"reward": "regret"}, "reward must be one of increment_over_random, .*; got 'regret'"),
        (
            {"reward": {"name": "increment_over_random", "draws": 0}},
            r"draws must be at least 1, or None \(null\) for all options; got 0",
        ),
        (
            {"videos": [0, 7, 8]},
            r"videos must be different rows of split 'train', at least one; got 3, 3 of them "
            r"different, not in it: \[7, 8\]",
        ),
        ({"videos": []}, r"got 0, 0 of them different, not in it: \[\]"),
        (
            {"videos": [3, 3]},
            r"different rows of split 'train', at least one; got 2, 1 of them different",
        ),
        ({"videos": [10], "split": None}, r"rows of split None, at least one; got 1, .*: \[10\]"),
        (
            {"options_allowed": [0, 9]},
            r"options_allowed must be options in \[0, 9\), at least one; got \[0, 9\]",
        ),
        ({"options_allowed": [-1]}, r"in \[0, 9\), at least one; got \[-1\]"),
        ({"policy_gmacs": float("nan")}, "policy_gmacs must be a finite number .* got nan"),
        ({"seed": None}, "seed must be an integer of at least 0; got None"),
        ({"videos": [2.9]}, r"videos must be a list of integers; got float64 of shape \(1,\)"),
        ({"options_allowed": [True] * 9}, r"a list of integers; got bool of shape \(9,\)"),
        ({"options_allowed": 3}, r"options_allowed must be a list of integers; got int64 of shape"),
        ({"options_allowed": []}, r"in \[0, 9\), at least one; got \[\]"),
        ({"render_mode": "ansi"}, "render_mode must be 'rgb_array' or None; got 'ansi'"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*The environment is being initialised with render_mode")
def test_a_value_that_cannot_be_is_refused(
    files: dict[str, str], face: Callable[..., Any], config: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        face(**files, **config)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"action_set": "grid"}, "action_set must be 'pairs' or 'flat'; got 'grid'"),
        (
            {"penalty": {}},
            r"penalty must be {'per_px2': number} or {'per_gmac': number}; got {}",
        ),
        ({"penalty": {"per_px": 1.0}}, "or {'per_gmac': number}; got {'per_px': 1.0}"),
        (
            {"penalty": {"per_px2": 1.0, "per_gmac": 1.0}},
            "or {'per_gmac': number}; got {'per_px2': 1.0, 'per_gmac': 1.0}",
        ),
        ({"penalty": 1e-6}, "or {'per_gmac': number}; got 1e-06"),
        ({"penalty": {"per_px2": -1.0}}, "penalty per_px2 must be .* at least 0; got -1.0"),
        ({"penalty": {"per_gmac": float("nan")}}, "penalty per_gmac must be .*; got nan"),
        ({"budget_gmacs": float("nan")}, "budget_gmacs must be a finite number .*; got nan"),
        (
            {"budget_gmacs": 1.0},
            r"budget_gmacs must be at least 1\.20001, what f_G, f_C and the agent need for 4 "
            r"frames without a look; got 1\.0",
        ),
    ],
)
def test_a_value_of_adafocus_plus_that_cannot_be_is_refused(
    files: dict[str, str], config: dict[str, Any], message: str
) -> None:
    for make in (
        lambda: FocusEnv(task="AdaFocusPlus", **files, **config),
        lambda: FocusVectorEnv(2, task="AdaFocusPlus", **files, **config),
        lambda: make_sb3("focusgym/AdaFocusPlus-v0", 2, **files, **config),
    ):
        with pytest.raises(ValueError, match=message):
            make()


@every_face
def test_keywords_are_checked(files: dict[str, str], face: Callable[..., Any]) -> None:
    known = "expected cache, classifier, group, .*, videos_root"
    with pytest.raises(TypeError, match=f"got an unexpected keyword argument 'draws': {known}"):
        face(**files, draws=None)
    with pytest.raises(TypeError, match=r"\(action_set: only of focusgym/AdaFocusPlus-v0\)"):
        face(**files, action_set="pairs")
    with pytest.raises(TypeError, match=f"missing the keyword argument 'classifier': {known}"):
        face(cache=files["cache"])
    with pytest.raises(TypeError, match="argument 'b'; missing .* 'cache'; missing .*'classifier'"):
        face(cache=None, b=1)


@every_face
def test_a_cache_or_classifier_that_cannot_be_used_is_refused(
    cache: FeatureCache, files: dict[str, str], tmp_path: Path, face: Callable[..., Any]
) -> None:
    with pytest.raises(CacheError, match="split 'dev' has no videos in .*: test, train, val"):
        face(**files, split="dev")
    with pytest.raises(CacheError, match="nowhere is not a complete feature cache"):
        face(**{**files, "cache": str(tmp_path / "nowhere")})
    with pytest.raises(BundleError, match="nowhere is not a readable bundle"):
        face(**{**files, "classifier": str(tmp_path / "nowhere")})
    other = write_cache(tmp_path / "other", seed=1)
    with pytest.raises(
        BundleError,
        match=rf"the classifier in {files['classifier']} was trained on another cache "
        rf"\(fingerprint {cache.fingerprint[:12]}…\) than {other.root} \(fingerprint "
        rf"{other.fingerprint[:12]}…\) that it is used with: open the cache it was trained on, or",
    ):
        face(**{**files, "cache": str(other.root)})
    with pytest.raises(CacheError, match="holds no option group 'p96_7x7': choose one of"):
        face(**files, group="p96_7x7")
    add_group(cache)
    with pytest.raises(CacheError, match="holds 2 option groups: say which of"):
        face(**files)
    assert face(**files, group="p12_3x3") is not None


def test_the_number_of_environments_is_checked(files: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="num_envs must be an integer of at least 1; got 0"):
        FocusVectorEnv(0, **files)
    with pytest.raises(ValueError, match="n_envs must be an integer of at least 1; got 0"):
        make_sb3("focusgym/AdaFocus-v0", 0, **files)
    with pytest.raises(ValueError, match="episode_stride must be an integer of at least 1; got 0"):
        FocusEnv(**files, episode_stride=0)
    for wrong in (-1, 1.5):
        with pytest.raises(ValueError, match=f"first_episode must be an .* least 0; got {wrong}"):
            FocusEnv(**files, first_episode=wrong, episode_stride=4)


def test_an_unknown_id_is_refused(files: dict[str, str]) -> None:
    with pytest.raises(
        ValueError,
        match="env_id must be one of focusgym/AdaFocus-v0, focusgym/AdaFocusPlus.*; got 'CartPol",
    ):
        make_sb3("CartPole-v1", **files)


@pytest.mark.parametrize("mode", ["NextStep", AutoresetMode.NEXT_STEP])
def test_next_step_autoreset_is_refused(files: dict[str, str], mode: Any) -> None:
    with pytest.raises(
        ValueError,
        match="autoreset_mode must be 'SameStep' or 'Disabled'; got .*'NextStep' would spend a",
    ):
        vector(**files, autoreset_mode=mode)
    with pytest.raises(ValueError, match="must be 'SameStep' or 'Disabled'; got 'Never'"):
        vector(**files, autoreset_mode="Never")
