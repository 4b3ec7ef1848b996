"""Wrong use of open environments: what the errors say, and that nothing was changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from support import T

from focusgym.envs import FocusEnv, FocusVectorEnv, make_sb3
from focusgym.feature_cache import CacheError


def vector(**config: Any) -> Any:
    return gymnasium.make_vec("focusgym/AdaFocus-v0", 2, **config)


def batch(**config: Any) -> Any:
    return make_sb3("focusgym/AdaFocus-v0", 2, **config)


@pytest.mark.parametrize(
    ("action_set", "action", "message"),
    [
        (None, 9, r"expected integer actions of shape \(1,\) in \[0, 9\); got \[9\] among them"),
        (None, -1, r"in \[0, 9\); got \[-1\] among them"),
        (None, 0.5, r"of shape \(1,\) in \[0, 9\); got float64 of shape \(1,\)"),
        (None, True, r"got bool of shape \(1,\)"),
        (None, None, r"got object of shape \(1,\)"),
        (
            None,
            [3],
            r"expected one action of Discrete\(9\); got shape \(1,\): give action_space.sam",
        ),
        (None, 2, r"expected options among options_allowed \[0, 1, 4\]; got \[2\]: use action_mas"),
        ("pairs", 4, r"one action of MultiDiscrete\(\[9 2\]\); got shape \(\): give action_space"),
        ("pairs", [4, 2], r"in \[0, 9\) and \[0, 2\); got \[2\] among them"),
        ("pairs", [9, 1], r"in \[0, 9\) and \[0, 2\); got \[9\] among them"),
        ("pairs", [4.0, 1.0], r"got float64 of shape \(1, 2\)"),
        ("pairs", [2, 0], r"expected options among options_allowed \[0, 1, 4\]; got \[2\]"),
        ("flat", 10, r"of shape \(1,\) in \[0, 10\); got \[10\] among them"),
        ("flat", [4, 1], r"expected one action of Discrete\(10\); got shape \(2,\)"),
        ("flat", 8, r"options_allowed \[0, 1, 4, 9\]; got \[8\]: .* or allow all options"),
    ],
)
def test_an_action_that_is_none_is_refused_and_changes_nothing(
    files: dict[str, str], action_set: str | None, action: Any, message: str
) -> None:
    def make() -> FocusEnv:
        if action_set is None:
            env = FocusEnv(**files, options_allowed=[4, 0, 1])
        else:
            env = FocusEnv(
                task="AdaFocusPlus", **files, options_allowed=[0, 1, 4], action_set=action_set
            )
        env.reset(seed=0)
        return env

    env, fresh = make(), make()
    with pytest.raises(ValueError, match=message):
        env.step(action)
    right = [4, 1] if action_set == "pairs" else 4
    assert env.step(right)[1] == fresh.step(right)[1]


@pytest.mark.parametrize("make", [FocusVectorEnv, "sb3"])
def test_actions_of_a_batch_are_checked(files: dict[str, str], make: Any) -> None:
    env = batch(**files) if make == "sb3" else make(2, **files)
    env.reset()
    for actions, received in (
        (np.zeros(3, dtype=int), r"int64 of shape \(3,\)"),
        (np.zeros((2, 1), dtype=int), r"int64 of shape \(2, 1\)"),
        (np.zeros(2), r"float64 of shape \(2,\)"),
        (np.array([0, 12]), r"\[12\] among them"),
    ):
        with pytest.raises(
            ValueError, match=rf"integer actions of shape \(2,\) in \[0, 9\); got {received}"
        ):
            env.step(actions)


def test_stepping_without_an_episode_is_refused(files: dict[str, str]) -> None:
    message = r"no episode is running in environment\(s\) {}: call reset\(\) before step\(\)"
    env, disabled = FocusEnv(**files), vector(**files, autoreset_mode="Disabled")
    for each, actions, all_of_them in (
        (env, 0, r"\[0\]"),
        (disabled, [0, 0], r"\[0, 1\]"),
        (batch(**files), np.zeros(2, dtype=int), r"\[0, 1\]"),
    ):
        with pytest.raises(RuntimeError, match=message.format(all_of_them)):
            each.step(actions)
    env.reset()
    disabled.reset()
    for _ in range(T):
        env.step(0)
        disabled.step([0, 0])
    with pytest.raises(RuntimeError, match=message.format(r"\[0\]")):
        env.step(0)
    disabled.reset(options={"reset_mask": np.array([True, False])})
    with pytest.raises(RuntimeError, match=message.format(r"\[1\]")):
        disabled.step([0, 0])
    for ask in (FocusEnv(**files), vector(**files), batch(**files)):
        with pytest.raises(RuntimeError, match=r"no episode was begun: call reset\(\) first"):
            ask.action_masks()
    plus = FocusEnv(task="AdaFocusPlus", **files, budget_gmacs=5.0)
    with pytest.raises(RuntimeError, match=message.format(r"\[0\]")):
        plus.step([0, 1])


def test_options_of_a_reset_are_checked(files: dict[str, str]) -> None:
    env, vec, sb3 = FocusEnv(**files), vector(**files), batch(**files)
    with pytest.raises(ValueError, match=r"unknown reset option\(s\) \['row'\]: expected video$"):
        env.reset(options={"row": 3})
    with pytest.raises(ValueError, match=r"option\(s\) \['row'\]: expected video or reset_mask"):
        vec.reset(options={"row": 3, "video": 3})
    sb3.set_options([{}, {"row": 3}])
    with pytest.raises(ValueError, match=r"unknown reset option\(s\) \['row'\]: expected video$"):
        sb3.reset()
    for video, received in ((10, "10"), (-1, "-1"), (1.0, "1.0"), ("3", "'3'")):
        message = (
            r"a chosen video must be a row of the cache in \[0, 10\) that could be read when it "
            rf"was built; got {received}"
        )
        for each in (env, vec):
            with pytest.raises(ValueError, match=message):
                each.reset(options={"video": video})
        sb3.set_options({"video": video})
        with pytest.raises(ValueError, match=message):
            sb3.reset()
    first = FocusEnv(**files).reset()
    assert env.reset()[1] == first[1], "what was refused changed nothing"


def test_seeds_and_masks_of_a_vector_reset_are_checked(files: dict[str, str]) -> None:
    env, some = vector(**files), np.array([True, False])
    for seeds in ([1, 2], (1, 2)):
        with pytest.raises(ValueError, match="one seed fixes the order of all .*; got 2 seeds"):
            env.reset(seed=seeds)
    with pytest.raises(ValueError, match="the first reset has to begin all environments: leave"):
        env.reset(options={"reset_mask": some})
    env.reset()
    with pytest.raises(ValueError, match="give it when all of them are reset, without reset_mask"):
        env.reset(seed=1, options={"reset_mask": some})
    for mask, received in (
        (np.zeros(2, dtype=bool), r"bool of shape \(2,\)"),
        (np.ones(3, dtype=bool), r"bool of shape \(3,\)"),
        (np.ones(2), r"float64 of shape \(2,\)"),
    ):
        message = rf"reset_mask must be \(2,\) bool with at least one True; got {received}"
        with pytest.raises(ValueError, match=message):
            env.reset(options={"reset_mask": mask})


def test_what_a_batch_of_stable_baselines3_does_not_have(files: dict[str, str]) -> None:
    env = batch(**files)
    with pytest.raises(AttributeError, match="cannot set 'x': the environments of a batch share"):
        env.set_attr("x", 1)
    with pytest.raises(AttributeError, match="no method 'close' of their own: expected action_mas"):
        env.env_method("close")
    with pytest.raises(AttributeError, match="nothing"):
        env.get_attr("nothing")
    with pytest.raises(RuntimeError, match=r"no episode was begun: call reset\(\) first"):
        env.env_method("record")


def test_the_wrappers_of_gymnasium_make_say_the_same(files: dict[str, str]) -> None:
    env = gymnasium.make("focusgym/AdaFocus-v0", **files)
    with pytest.raises(gymnasium.error.ResetNeeded, match="before calling env.reset"):
        env.step(0)
    with pytest.raises(gymnasium.error.Error, match="Seed must be greater or equal to zero"):
        env.reset(seed=-1)


def test_as_many_chosen_videos_as_environments_are_needed(files: dict[str, str]) -> None:
    env = make_sb3("focusgym/AdaFocus-v0", 3, **files)
    env.set_options([{"video": 1}])
    with pytest.raises(ValueError, match="or None, for each of 3 environments; got 1"):
        env.reset()
    vector = FocusVectorEnv(3, **files)
    with pytest.raises(ValueError, match="video must be one row of the cache, or 3; got 2"):
        vector.reset(options={"video": [1, 2]})
    with pytest.raises(ValueError, match="a chosen video must be a row of the cache .*; got True"):
        FocusEnv(**files).reset(options={"video": True})


def test_a_video_that_cannot_be_read_leaves_no_episode_running(files: dict[str, str]) -> None:
    stored = np.lib.format.open_memmap(Path(files["cache"]) / "glance_vectors.npy", "r+")
    stored[6, 2, 1] = np.nan
    stored.flush()
    env = FocusEnv(**files)
    env.reset(seed=0)
    env.step(0)
    with pytest.raises(CacheError, match="video 6 .*, segment 2: the features, or f_C's weights"):
        env.reset(options={"video": 6})
    with pytest.raises(RuntimeError, match="no episode is running"):
        env.step(0)
    env.reset(options={"video": 5})
    env.step(0)
