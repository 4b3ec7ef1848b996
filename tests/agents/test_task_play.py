"""Any model in any environment, video by video, against single environments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from sb3_contrib import RecurrentPPO
from support import T

from focusgym.agents import play_task, task_play, trace_task
from focusgym.envs import make_sb3
from focusgym.envs.tasks.registry import TASKS, env_id


class Counter:
    """Acts by how many steps the episode has had, and by what it sees: a state of its own."""

    def __init__(self, space: gymnasium.Space[Any]) -> None:
        self._space = space

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, **_: Any
    ) -> tuple[np.ndarray, Any]:
        n = len(episode_start)
        steps = np.zeros(n, dtype=int) if state is None else state
        steps = np.where(episode_start, 0, steps) + 1
        seen = np.asarray(
            next(iter(observation.values())) if isinstance(observation, dict) else observation
        )
        key = np.abs(seen.reshape(n, -1).sum(axis=1) * 1e3).astype(int) + steps
        if isinstance(self._space, gymnasium.spaces.Box):
            waves = np.sin(key[:, None] * np.arange(1, self._space.shape[0] + 1))
            return waves.clip(self._space.low, self._space.high).astype(np.float32), steps
        sizes = getattr(self._space, "nvec", getattr(self._space, "n", None))
        if np.ndim(sizes):
            return np.stack([key % size for size in sizes], axis=1), steps
        return key % sizes, steps


@pytest.mark.parametrize("name", TASKS)
def test_every_video_once_as_in_an_environment_alone(
    cache: Any, classifier_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_play, "N_ENVS", 4)  # more than one part
    files = {"cache": str(cache.root), "classifier": str(classifier_path)}
    env = gymnasium.make(env_id(name), split=None, **files).unwrapped
    model = Counter(env.action_space)
    played = play_task(model, env_id(name), split="train", **files)
    assert played["video_id"].tolist() == cache.split("train").tolist()
    for row in played.itertuples():
        observation, _ = env.reset(options={"video": int(row.video_id)})
        state, start, over, total = None, np.array([True]), False, 0.0
        while not over:
            batch = (
                {key: part[None] for key, part in observation.items()}
                if isinstance(observation, dict)
                else observation[None]
            )
            actions, state = model.predict(batch, state, start)
            observation, reward, over, _, info = env.step(actions[0])
            start, total = np.array([False]), total + reward
        assert row.decisions == info["episode_length"]
        assert bool(row.correct) == info["correct"]
        assert row.confidence == pytest.approx(info["confidence"], abs=1e-5)
        assert row.gmacs == pytest.approx(info["gmacs"])


def test_masks_are_given_to_those_that_take_them(cache: Any, classifier_path: Path) -> None:
    files = {"cache": str(cache.root), "classifier": str(classifier_path)}

    class Masked:
        """Takes the first action that is possible."""

        def predict(
            self,
            observation: Any,
            state: Any = None,
            episode_start: Any = None,
            deterministic: bool = False,
            action_masks: Any = None,
        ) -> tuple[np.ndarray, Any]:
            return action_masks.argmax(axis=1), None

    played = play_task(Masked(), "focusgym/Exit-v0", split="train", **files)
    assert played["decisions"].tolist() == [2] * len(played), "the first segment, then a stop"
    trace = trace_task(Masked(), "focusgym/Exit-v0", split="train", **files)
    assert trace.valid.tolist() == [[True] * 2 + [False] * (T - 2)] * len(played)


def test_a_recurrent_model_learns_to_jump(
    cache: Any, classifier_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """sb3-contrib's own; its state goes on through an episode, and no video sees another's."""
    files = {"cache": str(cache.root), "classifier": str(classifier_path)}
    files |= {"price_per_gmac": 0.01}
    model = RecurrentPPO(
        "MultiInputLstmPolicy",
        make_sb3("focusgym/Jump-v0", 3, **files),
        n_steps=8,
        batch_size=8,
        policy_kwargs={"lstm_hidden_size": 8},
        seed=0,
    )
    model.learn(48)
    together = play_task(model, "focusgym/Jump-v0", split="train", **files)
    assert together["video_id"].tolist() == cache.split("train").tolist()
    monkeypatch.setattr(task_play, "N_ENVS", 1)
    alone = play_task(model, "focusgym/Jump-v0", split="train", **files)
    for column in ("decisions", "correct", "gmacs"):
        assert alone[column].tolist() == pytest.approx(together[column].tolist()), column
