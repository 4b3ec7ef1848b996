"""Episodes that go on in another player, from the middle, as they would have gone on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from focusgym.envs import FocusVecEnv, make_sb3
from focusgym.envs.tasks.registry import TASKS, env_id

N_ENVS = 4


def make(files: dict[str, str], name: str, n_envs: int = N_ENVS) -> FocusVecEnv:
    return make_sb3(env_id(name), n_envs, observation="state", **files)


def actions(env: FocusVecEnv, rng: np.random.Generator) -> Any:
    """Draw an action that is in the space for each environment."""
    space = env.action_space
    space.seed(int(rng.integers(2**31)))
    return np.stack([space.sample() for _ in range(env.num_envs)])


@pytest.fixture
def files(cache: Any, classifier_path: Any) -> dict[str, str]:
    return {"cache": str(cache.root), "classifier": str(classifier_path)}


@pytest.mark.parametrize("name", TASKS)
def test_another_player_goes_on(files: dict[str, str], name: str) -> None:
    """Observations, rewards, ends and infos are the same bits, into the episodes after."""
    rng = np.random.default_rng(0)
    uninterrupted, other = make(files, name), make(files, name)
    uninterrupted.reset()
    for _ in range(5):  # episodes of different lengths are then at different places
        uninterrupted.step(actions(uninterrupted, rng))
    player = other.player
    player.go_on(uninterrupted.player.position(), uninterrupted.player.rows())
    expected_observation, observation = uninterrupted.player.observe(), player.observe()
    for _ in range(9):
        np.testing.assert_equal(observation, expected_observation)
        chosen = actions(uninterrupted, rng)
        expected_observation, *expected = uninterrupted.step(chosen)
        observation, *outcome = other.step(chosen)
        np.testing.assert_equal(outcome, expected)


def test_of_another_number_or_task(files: dict[str, str]) -> None:
    envs = {name: make(files, name) for name in ("Jump", "Pointers")}
    for env in envs.values():
        env.reset()
    jump, pointers = (envs[name].player for name in ("Jump", "Pointers"))
    with pytest.raises(ValueError, match=r"task\._at: expected none; got .*int64 of shape \(4, 2"):
        jump.go_on(pointers.position(), pointers.rows())
    fewer = make(files, "Jump", 2).player
    with pytest.raises(ValueError, match="expected the position of 2 environments; got that of 4"):
        fewer.go_on(jump.position(), jump.rows())


@pytest.mark.parametrize(
    ("name", "row", "message"),
    [
        ("engine.videos", [10**6] * 4, "expected those of the position, .*; got .1000000, "),
        ("engine.labels", [77] * 4, "expected those of the position, .*; got .77, 77, 77, 77"),
        ("task.t", [0, 0, 0, 100], r"expected numbers in \[0, \d+\]; got \[0, 0, 0, 100\]"),
        ("engine.step", [0, 0, 0, -1], r"expected numbers in \[0, \d+\]; got \[0, 0, 0, -1\]"),
        ("task.t", [0.0] * 4, "expected torch.int64 of shape .4,.; got torch.float32 of shape"),
        ("task.place", [0, 0, 0, 99], r"expected numbers in \[0, \d+\]; got \[0, 0, 0, 99\]"),
    ],
)
def test_where_no_episode_stands(
    files: dict[str, str], name: str, row: list[Any], message: str
) -> None:
    """Rows of another type, of other videos, of no place in an episode."""
    env = make(files, "Jump")
    env.reset()
    position, rows = env.player.position(), env.player.rows()
    env.player.go_on(position, rows)
    with pytest.raises(ValueError, match=f"{name}: {message}"):
        env.player.go_on(position, {**rows, name: torch.tensor(row)})


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_costs_that_are_no_numbers(files: dict[str, str], value: float) -> None:
    env = make(files, "Jump")
    env.reset()
    rows = env.player.rows()
    rows["task.gmacs"][1] = value
    with pytest.raises(ValueError, match=r"task\.gmacs: expected finite numbers; got .*(nan|inf)"):
        env.player.go_on(env.player.position(), rows)
