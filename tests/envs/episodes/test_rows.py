"""Episodes that go on in another player, from the middle, as they would have gone on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

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
    whole, other = make(files, name), make(files, name)
    whole.reset()
    for _ in range(5):  # episodes of different lengths are then at different places
        whole.step(actions(whole, rng))
    player = other.player
    player.go_on(whole.player.position(), whole.player.rows())
    there, here = whole.player.observe(), player.observe()
    for _ in range(9):
        np.testing.assert_equal(here, there)
        chosen = actions(whole, rng)
        there, *expected = whole.step(chosen)
        here, *found = other.step(chosen)
        np.testing.assert_equal(found, expected)


def test_of_another_number_or_task(files: dict[str, str]) -> None:
    envs = {name: make(files, name) for name in ("Jump", "Exit")}
    for env in envs.values():
        env.reset()
    jump, exits = (envs[name].player for name in ("Jump", "Exit"))
    with pytest.raises(ValueError, match=r"task\._now: expected rows of shape None; got .*\(\[4\]"):
        exits.go_on(jump.position(), jump.rows())
    fewer = make(files, "Jump", 2).player
    with pytest.raises(ValueError, match="expected the position of 2 environments; got that of 4"):
        fewer.go_on(jump.position(), jump.rows())
