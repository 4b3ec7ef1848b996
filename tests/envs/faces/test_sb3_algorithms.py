"""Algorithms of Stable-Baselines3 and sb3-contrib train on our batches, and learn.

Warnings are errors here (see setup.cfg).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sb3_contrib import MaskablePPO, RecurrentPPO
from sb3_contrib.common.maskable.evaluation import evaluate_policy as evaluate_maskable
from sb3_contrib.common.maskable.utils import get_action_masks
from stable_baselines3 import A2C, DQN, PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback, EvalCallback
from stable_baselines3.common.evaluation import evaluate_policy
from support import GRID, C, G, L, Literal, T

from focusgym.envs import FocusEnv, make_sb3

K, N_ENVS = GRID**2, 4
FRAME_GMACS = 0.3 + (3 * 7 * (G + L + 7) + 7 * C) / 1e9  # f_G of `write_cache`; f_C: GRU, linear
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "where": ("focusgym/AdaFocus-v0", {}),
    "pairs": ("focusgym/AdaFocusPlus-v0", {"action_set": "pairs"}),
    "flat": ("focusgym/AdaFocusPlus-v0", {"action_set": "flat"}),
}
ON_POLICY = {"n_steps": 16}
MINIBATCHES = {**ON_POLICY, "batch_size": 16, "n_epochs": 2}
ALGORITHMS: dict[type[BaseAlgorithm], dict[str, Any]] = {
    PPO: MINIBATCHES,
    A2C: ON_POLICY,
    DQN: {"learning_starts": 64, "buffer_size": 200, "batch_size": 16},
    RecurrentPPO: MINIBATCHES,
    MaskablePPO: MINIBATCHES,
}


def make_model(algorithm: type[BaseAlgorithm], env: Any, observation: str) -> BaseAlgorithm:
    recurrent = algorithm is RecurrentPPO
    network = {"net_arch": [8], **({"lstm_hidden_size": 8} if recurrent else {})}
    policy = ("Mlp" if observation == "map" else "MultiInput") + "Lstm" * recurrent + "Policy"
    return algorithm(
        policy, env, policy_kwargs=network, seed=0, device="cpu", **ALGORITHMS[algorithm]
    )


def weights(model: BaseAlgorithm) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.policy.parameters()])


class Played(BaseCallback):
    """What was played in rollouts: masks, actions, infos and ends of every step."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[tuple[Any, np.ndarray, list[dict[str, Any]], np.ndarray]] = []

    def _on_step(self) -> bool:
        masks = self.locals.get("action_masks")
        self.steps.append(
            (masks, self.locals["actions"], self.locals["infos"], self.locals["dones"])
        )
        return True


@pytest.mark.parametrize(
    ("kind", "algorithm", "observation"),
    [
        (kind, one, ("map", "index")[(i + j) % 2])
        for i, kind in enumerate(KINDS)
        for j, one in enumerate(ALGORITHMS)
        if (kind, one) != ("pairs", DQN)
    ],
)
def test_an_algorithm_trains(
    files: dict[str, str], kind: str, algorithm: type[BaseAlgorithm], observation: str
) -> None:
    env_id, of_kind = KINDS[kind]
    env = make_sb3(env_id, N_ENVS, observation=observation, **of_kind, **files)
    model, played = make_model(algorithm, env, observation), Played()
    before = weights(model)
    model.learn(128, callback=played)
    after = weights(model)
    assert torch.isfinite(after).all()
    assert float((after - before).abs().max()) > 1e-5
    assert len(played.steps) == 128 // N_ENVS
    for step, (_, actions, infos, dones) in enumerate(played.steps):
        assert dones.tolist() == [step % T == T - 1] * N_ENVS
        assert all(env.action_space.contains(action) for action in np.asarray(actions))
        assert all(("episode" in info) == dones[0] for info in infos)
    # What the algorithm logs as the mean return is that of the episodes.
    returns = [
        info["episode_return"] for *_, infos, dones in played.steps if dones[0] for info in infos
    ]
    assert [each["r"] for each in model.ep_info_buffer] == returns
    observations = env.reset()
    actions, _ = model.predict(observations)
    assert env.step(actions)[1].shape == (N_ENVS,)


@pytest.mark.parametrize("algorithm", [PPO, RecurrentPPO])
def test_training_twice_from_a_seed_gives_the_same_weights(
    files: dict[str, str], algorithm: type[BaseAlgorithm]
) -> None:
    trained = []
    for _ in range(2):
        env = make_sb3("focusgym/AdaFocus-v0", N_ENVS, **files)
        model = make_model(algorithm, env, "map")
        model.learn(128)
        trained.append(weights(model))
    assert torch.equal(*trained)


@pytest.mark.parametrize("observation", ["map", "index"])
def test_ppo_learns_where_to_look(tmp_path: Path, observation: str) -> None:
    """Compared with all options, a policy that looks anywhere has an expected return of zero.

    After this training it is 0.37 to 0.74 for six seeds.
    """
    files = Literal(tmp_path).files
    config: dict[str, Any] = {
        "reward": {"name": "increment_over_random", "draws": None},
        "observation": observation,
        **files,
    }
    env = make_sb3("focusgym/AdaFocus-v0", 6, **config)
    model = PPO(
        "MlpPolicy" if observation == "map" else "MultiInputPolicy",
        env,
        n_steps=16,
        batch_size=24,
        n_epochs=8,
        learning_rate=1e-2,
        gamma=0.0,
        policy_kwargs={"net_arch": [32]},
        seed=0,
        device="cpu",
    )

    def mean_return() -> float:
        every_video = make_sb3("focusgym/AdaFocus-v0", 6, order="listed", **config)
        return float(evaluate_policy(model, every_video, 6)[0])

    model.learn(1500)
    assert mean_return() > 0.2


@pytest.mark.parametrize(
    ("kind", "observation"),
    [("where", "map"), ("where", "index"), ("pairs", "index"), ("flat", "map")],
)
def test_maskable_ppo_never_takes_a_masked_action(
    files: dict[str, str], kind: str, observation: str
) -> None:
    env_id, of_kind = KINDS[kind]
    config = {"options_allowed": [0, 4, 5], "observation": observation, **of_kind, **files}
    if kind != "where":
        config["budget_gmacs"] = T * FRAME_GMACS + 2 * 1.5  # two looks of four
    env = make_sb3(env_id, N_ENVS, **config)
    model, played = make_model(MaskablePPO, env, observation), Played()
    before = weights(model)
    model.learn(256, callback=played)
    assert float((weights(model) - before).abs().max()) > 1e-5
    observations = env.reset()
    for step in range(2 * T):
        masks = get_action_masks(env)
        actions, _ = model.predict(observations, action_masks=masks, deterministic=step < T)
        observations, _, dones, infos = env.step(actions)
        played.steps.append((masks, actions, infos, dones))
    n_closed = 0
    for masks, actions, infos, dones in played.steps:
        for mask, action, info in zip(masks.reshape(N_ENVS, -1), actions, infos, strict=True):
            options, rest = mask[:K], mask[K:]
            if kind == "pairs":
                assert options[action[0]]
                assert rest[action[1]]
                assert info["attended"] is bool(action[1]), "nothing was skipped for the agent"
                n_closed += not rest[1]
            else:
                assert mask[action]
                assert info.get("attended", True) is bool(action < K)
                n_closed += not options.any()
            assert set(np.flatnonzero(options)) <= {0, 4, 5}
        if kind != "where" and dones.all():
            assert max(info["gmacs"] for info in infos) <= config["budget_gmacs"] * (1 + 1e-9)
    assert (n_closed > 0) == (kind != "where"), "the budget was felt"
    masked = evaluate_maskable(model, make_sb3(env_id, 2, **config), 4)
    assert np.isfinite(masked).all()


def test_maskable_ppo_takes_a_single_environment(files: dict[str, str]) -> None:
    env = FocusEnv(**files, options_allowed=[7])
    model, played = make_model(MaskablePPO, env, "map"), Played()
    model.learn(32, callback=played)
    assert {int(action) for _, actions, _, _ in played.steps for action in actions} == {7}


def test_an_algorithm_without_masks_is_told_to_use_them(files: dict[str, str]) -> None:
    env = make_sb3("focusgym/AdaFocus-v0", N_ENVS, options_allowed=[0], **files)
    with pytest.raises(ValueError, match=r"use action_masks\(\) with a maskable agent, or allow"):
        make_model(PPO, env, "map").learn(64)


def test_a_model_is_saved_loaded_and_evaluated_while_it_trains(
    files: dict[str, str], tmp_path: Path
) -> None:
    env = make_sb3("focusgym/AdaFocus-v0", N_ENVS, **files)
    model = make_model(PPO, env, "map")
    evaluation = make_sb3("focusgym/AdaFocus-v0", 2, split="val", **files)
    callback = EvalCallback(
        evaluation, n_eval_episodes=2, eval_freq=16, log_path=str(tmp_path), verbose=0
    )
    model.learn(128, callback=callback)
    stored = np.load(tmp_path / "evaluations.npz")
    assert stored["results"].shape == (2, 2)
    assert (stored["ep_lengths"] == T).all()
    model.save(tmp_path / "model")
    again = PPO.load(tmp_path / "model", env=make_sb3("focusgym/AdaFocus-v0", N_ENVS, **files))
    assert torch.equal(weights(again), weights(model))
    again.learn(64)
    assert not torch.equal(weights(again), weights(model))
