"""Gymnasium's time limits and what goes by them: of single environments, and of a batch."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import SyncVectorEnv
from gymnasium.wrappers import TimeAwareObservation, TimeLimit
from support import T, assert_same

from focusgym.envs import FocusEnv


@pytest.mark.parametrize("most", [2, T, T + 1])
@pytest.mark.parametrize("mode", ["SameStep", "Disabled"])
def test_a_batch_is_truncated_as_gymnasium_truncates_single_environments(
    files: dict[str, str], mode: str, most: int
) -> None:
    """Also where some were reset in the middle: then they are over at different times."""

    def single(i: int) -> Any:
        return TimeLimit(
            FocusEnv(task="AdaFocusPlus", first_episode=i, episode_stride=3, **files), most
        )

    theirs = SyncVectorEnv([lambda i=i: single(i) for i in range(3)], autoreset_mode=mode)
    ours = gymnasium.make_vec(
        "focusgym/AdaFocusPlus-v0", 3, autoreset_mode=mode, max_episode_steps=most, **files
    )
    ours.action_space.seed(0)
    assert_same(ours.reset(), theirs.reset())
    ends = set()
    for step in range(3 * T):
        if step == 1:
            masks = [{"reset_mask": np.array([True, False, True])} for _ in range(2)]
            assert_same(
                *(env.reset(options=m) for env, m in zip((ours, theirs), masks, strict=True))
            )
        actions = ours.action_space.sample()
        returned, expected = ours.step(actions), theirs.step(actions)
        assert_same(returned, expected)
        over = returned[2] | returned[3]
        ends.add((bool(returned[2].any()), bool(returned[3].any())))
        if mode == "Disabled" and over.any():
            masks = [{"reset_mask": over.copy()} for _ in range(2)]
            assert_same(
                *(env.reset(options=m) for env, m in zip((ours, theirs), masks, strict=True))
            )
    assert ends == {(False, False), {2: (False, True), T: (True, True)}.get(most, (True, False))}


def test_no_limit_and_limits_that_cannot_be(files: dict[str, str]) -> None:
    env = gymnasium.make_vec("focusgym/AdaFocus-v0", 2, max_episode_steps=-1, **files)
    assert gymnasium.make_vec(env.spec).spec.kwargs["max_episode_steps"] == -1
    env.reset()
    ends = [env.step(np.zeros(2, dtype=int))[2:4] for _ in range(T)]
    assert np.array(ends).sum(axis=(0, 2)).tolist() == [2, 0]
    for wrong in (0, 1.5):
        with pytest.raises(ValueError, match=f"max_episode_steps must be an .* 1; got {wrong}"):
            gymnasium.make_vec("focusgym/AdaFocus-v0", 2, max_episode_steps=wrong, **files)


@pytest.mark.parametrize("observation", ["map", "index"])
def test_observations_that_tell_the_time(files: dict[str, str], observation: str) -> None:
    plain = gymnasium.make("focusgym/AdaFocus-v0", observation=observation, **files)
    limited = gymnasium.make(
        "focusgym/AdaFocus-v0", observation=observation, max_episode_steps=T, **files
    )
    env = TimeAwareObservation(limited, flatten=False, normalize_time=True)
    observed, expected = env.reset(seed=0)[0], plain.reset(seed=0)[0]
    for t in range(T + 1):
        assert observed in env.observation_space
        assert observed["time"] == pytest.approx(t / T)
        wrapped = expected if observation == "index" else {"obs": expected}
        assert_same({key: value for key, value in observed.items() if key != "time"}, wrapped)
        if t < T:
            observed, _, terminated, _, _ = env.step(t)
            expected = plain.step(t)[0]
            assert terminated == (t == T - 1)
