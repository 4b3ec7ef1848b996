"""What an environment gives away is the caller's; a copy of it is an environment of its own."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from support import T

from focusgym.envs import FocusEnv, FocusVectorEnv, make_sb3


def test_infos_of_a_batch_may_be_changed(files: dict[str, str]) -> None:
    env = FocusVectorEnv(2, task="AdaFocusPlus", budget_gmacs=5.0, **files)
    env.reset(seed=0)
    other = FocusVectorEnv(2, task="AdaFocusPlus", budget_gmacs=5.0, **files)
    other.reset(seed=0)
    for t in range(3 * T):
        actions = np.array([[t % 9, 1], [2, t % 2]])
        observations, rewards, terminated, truncated, infos = env.step(actions)
        expected = other.step(actions)
        assert infos.keys() == expected[4].keys()
        if t % T < T - 1:
            assert np.array_equal(infos["gmacs"], expected[4]["gmacs"])
        assert np.array_equal(env.action_masks(), other.action_masks())
        assert np.array_equal(rewards, expected[1])
        for array in (observations, rewards, *infos.values()):
            if isinstance(array, np.ndarray) and array.dtype != object:
                array[...] = 0
        terminated[:] = truncated[:] = True
    mine, untouched = env.record(1), other.record(1)
    assert np.array_equal(mine.gmacs, untouched.gmacs)
    assert np.array_equal(mine.confidences, untouched.confidences)
    assert np.array_equal(mine.rewards, untouched.rewards)


def test_rewards_of_stable_baselines_may_be_changed(files: dict[str, str]) -> None:
    env = make_sb3("focusgym.envs:focusgym/AdaFocus-v0", 2, **files)
    env.reset()
    rewards = env.step(np.array([3, 4]))[1]
    kept = rewards.copy()
    rewards -= rewards.mean()
    assert env.env_method("record")[0].rewards.tolist() == [kept[0]]


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
def test_a_copy_is_an_environment_of_its_own(
    files: dict[str, str], duplicate: Callable[[Any], Any]
) -> None:
    env = FocusEnv(**files)
    env.reset(seed=1)
    env.step(3)
    twin = duplicate(env)
    assert twin.step(4)[1] == env.step(4)[1], "it goes on from where it was copied"
    fresh = FocusEnv(**files)
    twin.reset(seed=5), fresh.reset(seed=5)
    for _ in range(6):
        videos = [each.reset()[1]["video_id"] for each in (twin, fresh)]
        assert videos[0] == videos[1]
        assert twin.step(2)[1] == pytest.approx(fresh.step(2)[1], abs=1e-7)


def test_a_batch_is_recorded_where_it_does_not_reset_by_itself(files: dict[str, str]) -> None:
    env = FocusVectorEnv(2, autoreset_mode="Disabled", **files)
    env.reset(seed=0)
    rewards = [env.step(np.array([t, 8 - t]))[1] for t in range(T)]
    for i in range(2):
        record = env.record(i)
        assert record.options.tolist() == [abs(8 * i - t) for t in range(T)]
        assert record.rewards.tolist() == [reward[i] for reward in rewards]
    env.reset()
    assert env.record(0).n_decisions == 0
