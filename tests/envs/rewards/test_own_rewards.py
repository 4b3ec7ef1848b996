"""Rewards that are Python functions and objects: against loops, and where they cannot be stored."""

from __future__ import annotations

from dataclasses import dataclass
from os import system  # noqa: F401  # as a module of somebody else may have it
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from support import GRID, C, Literal, T
from torch import Tensor

from focusgym.agents import Checkpoints, PPOConfig, save_checkpoint, train_policy
from focusgym.agents.train import make_model
from focusgym.envs import (
    Confidences,
    EnvConfig,
    FocusEnv,
    make_design,
    make_sb3,
)
from focusgym.envs.rewards.designs import FunctionDesign
from focusgym.recognizer import CheckpointError

K = GRID**2
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "where": ("focusgym/AdaFocus-v0", {}),
    "pairs": ("focusgym/AdaFocusPlus-v0", {"action_set": "pairs"}),
    "flat": ("focusgym/AdaFocusPlus-v0", {"action_set": "flat"}),
}
SMALL: dict[str, Any] = {"n_envs": 6, "minibatch": 3, "conv_channels": 2, "hidden": 6}


def surprise(p: Confidences, weight: float = 1.0) -> Tensor:
    """Uses all that is not a confidence: of several true classes, the most probable one."""
    several = p.labels.dtype == torch.bool
    true = p.labels if several else torch.nn.functional.one_hot(p.labels, C).bool()
    logs = p.logits.log_softmax(-1).masked_fill(~true, -torch.inf).amax(-1)
    shown = torch.where(p.named, p.options, -1)
    return weight * logs + 0.1 * shown + 0.01 * p.step + 5 * p.last


def literal_surprise(probabilities: Tensor, true: list[int], option: int, t: int) -> float:
    return max(float(probabilities[k].log()) for k in true) + 0.1 * option + 0.01 * t + 5 * (t == 3)


def over_random(p: Confidences) -> Tensor:
    return p.chosen - p.random.mean(1)


over_random.draws = 2  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Gain:
    """An object that compares with nothing."""

    weight: float = 2.0

    def __call__(self, p: Confidences) -> Tensor:
        return self.weight * (p.chosen - p.previous)


@pytest.mark.parametrize("labels", ["first", "mean"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_function_gets_what_loops_say_in_every_face(
    tmp_path: Path, kind: str, labels: str
) -> None:
    """Logits, labels, options and steps of single environments, a vector one, and SB3's."""
    several = [[i % C, (i + 1) % C] for i in range(10)]
    literal = Literal(tmp_path, all_labels=several)
    env_id, of_kind = KINDS[kind]
    config = {**literal.files, **of_kind, "reward": surprise, "labels": labels, "split": None}
    vector, batch = gymnasium.make_vec(env_id, 3, **config), make_sb3(env_id, 3, **config)
    places = [{"first_episode": i, "episode_stride": 3} for i in range(3)]
    singles = [gymnasium.make(env_id, **config, **place) for place in places]
    batch.seed(5)
    batch.reset()
    videos = vector.reset(seed=5)[1]["video_id"].tolist()
    assert videos == [env.reset(seed=5)[1]["video_id"] for env in singles]
    histories: list[list[tuple[int, int]]] = [[], [], []]
    rng = np.random.default_rng(0)
    for t in range(T):
        options, bs = rng.integers(K, size=3), rng.integers(2, size=3)
        actions = {
            "where": options,
            "pairs": np.stack([options, bs], axis=1),
            "flat": np.where(bs == 1, options, K),
        }[kind]
        expected = []
        for i, (option, b) in enumerate(zip(options.tolist(), bs.tolist(), strict=True)):
            b = 1 if kind == "where" else b
            taken = (option, b if kind == "flat" else 1)  # where skipped: what it would give
            probabilities = literal.probabilities(videos[i], [*histories[i], taken])
            true = several[videos[i]][: None if labels == "mean" else 1]
            shown = -1 if kind == "flat" and not b else option
            expected.append(literal_surprise(probabilities, true, shown, t))
            histories[i].append((option, b))
        rewards, batch_rewards = vector.step(actions)[1], batch.step(actions)[1]
        for i, env in enumerate(singles):
            _, reward, _, _, info = env.step(actions[i])
            part = info.get("reward_location", reward)
            assert part == pytest.approx(expected[i], abs=2e-5)
            assert rewards[i] == pytest.approx(reward, abs=1e-5)
            assert batch_rewards[i] == pytest.approx(reward, abs=1e-5)


@pytest.mark.parametrize(
    ("reward", "same"),
    [
        (surprise, f"{__name__}:surprise"),
        ({"name": f"{__name__}:surprise", "weight": 1.0}, f"{__name__}:surprise"),
        (lambda p: 2 * (p.chosen - p.previous), f"{__name__}:Gain"),
        (Gain(), Gain),
        (Gain(3.0), {"name": f"{__name__}:Gain", "weight": 3.0}),
        (over_random, {"name": "increment_over_random", "draws": 2}),
        (f"{__name__}:over_random", over_random),
    ],
)
def test_a_function_by_itself_or_by_its_name(tmp_path: Path, reward: Any, same: Any) -> None:
    files = Literal(tmp_path).files
    played = []
    for each in (reward, same):
        env = FocusEnv(**files, reward=each)
        env.reset(seed=1)
        played.append([env.step(option)[1] for option in (0, 3, 7, 3)])
    assert played[0] == pytest.approx(played[1], abs=1e-6)
    assert len(set(played[0])) == T


@pytest.mark.parametrize(
    ("reward", "message"),
    [
        (lambda p: p.chosen.sum(), r"reward .*<lambda> must return \(1,\) finite numbers"),
        (lambda p: p.nothing, r"<lambda> fails on 1 confidences .*no attribute 'nothing'"),
        (type("Incomplete", (), {}), "Incomplete gave .*cannot be called"),
        (f"{__name__}:Literal", "is a class whose instances cannot be called"),
        ({"name": f"{__name__}:surprise", "height": 1}, r"does not take {'height': 1}: .*weight: "),
        (f"{__name__}:SMALL", "SMALL' is 'dict' and cannot be called"),
        (
            {"name": "os:system", "command": "exit 1"},
            "is of Python's own module os, which holds no",
        ),
        ({"name": "subprocess:Popen", "args": "false"}, "is of Python's own module subprocess"),
        ({"name": f"{__name__}:system", "command": "exit 1"}, "is of Python's own module posix"),
    ],
)
def test_what_is_wrong_with_a_function_is_told_before_it_is_played(
    tmp_path: Path, reward: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        FocusEnv(task="AdaFocusPlus", **Literal(tmp_path).files, reward=reward)


def test_a_function_that_changes_its_inputs_changes_nothing_else(tmp_path: Path) -> None:
    def spoil(p: Confidences) -> Tensor:
        for value in (
            p.chosen,
            p.previous,
            p.gmacs,
            p.logits,
            p.labels,
            p.options,
            p.named,
            p.step,
            p.last,
        ):
            value.zero_()
        return p.chosen

    files = Literal(tmp_path).files
    spoiled, other = FocusEnv(**files, reward=spoil), FocusEnv(**files, reward="increments")
    for env in (spoiled, other):
        env.reset(seed=0)
    for _ in range(T):
        (*_, info), (*_, expected) = spoiled.step(3), other.step(3)
        kept = ("confidence", "correct", "gmacs", "label")
        assert [info[name] for name in kept] == [expected[name] for name in kept]
    assert spoiled.record().options.tolist() == [3] * T


def test_where_json_is_wanted_a_python_object_is_refused(tmp_path: Path) -> None:
    files = Literal(tmp_path).files
    by_name = r"put it into a module, and give its name as 'module:attribute', such as "
    for make in (gymnasium.make, gymnasium.make_vec):
        for reward, name in (
            (surprise, "surprise"),
            (Gain(), "Gain"),
            (lambda p: p.chosen, "my_reward"),
        ):
            env = make("focusgym/AdaFocus-v0", **files, reward=reward)
            with pytest.raises(ValueError, match=f"{by_name}'.*:{name}'"):
                env.spec.to_json()
            again = make(env.spec)
            again.reset(seed=0)
            assert np.isfinite(again.step(again.action_space.sample())[1]).all()
    config = PPOConfig(1, **SMALL, reward=surprise)
    with pytest.raises(CheckpointError, match=f"{by_name}.*; or train without checkpoints"):
        train_policy(**files, config=config, seed=0, checkpoint=tmp_path / "checkpoint")
    model = make_model(**files, config=config, seed=0)
    with pytest.raises(CheckpointError, match=by_name):
        model.learn(6 * T, Checkpoints(tmp_path / "checkpoint"))
    assert model.num_timesteps == 0, "nothing was trained"
    model.learn(6 * T)
    with pytest.raises(CheckpointError, match=by_name):
        save_checkpoint(tmp_path / "checkpoint", model)
    assert not (tmp_path / "checkpoint").exists()


def test_a_policy_is_trained_on_a_function(tmp_path: Path) -> None:
    """The mean return of a rollout is the function's: here 1 in the first frame, 0 after it."""
    files = Literal(tmp_path).files
    config = PPOConfig(2, **SMALL, reward=lambda p: (p.step == 0).float())
    assert train_policy(**files, config=config, seed=0)[1] == [1.0, 1.0]
    assert EnvConfig(**files, reward=surprise).reward is surprise
    assert make_design(surprise).draws == 0


def margin_so_far(p: Confidences) -> torch.Tensor:
    assert p.best_margin is not None
    return p.best_margin


def test_the_largest_margin_is_given_to_those_that_ask(files: dict[str, str]) -> None:
    asks = FunctionDesign(margin_so_far, compares_margin=True)
    own = gymnasium.make("focusgym/Jump-v0", reward=asks, **files).unwrapped
    theirs = gymnasium.make("focusgym/Jump-v0", reward="best_margin", **files).unwrapped
    own.reset(seed=1), theirs.reset(seed=1)
    best = 0.0
    for segment in range(T):
        assert own.step(segment)[1] == pytest.approx(best, abs=1e-6)
        best += theirs.step(segment)[1]  # what it gained over the largest before
    with pytest.raises(ValueError, match="fails on 1 confidences"):
        gymnasium.make("focusgym/Jump-v0", reward=margin_so_far, **files)
