"""FocusPPO beside Stable-Baselines3's own PPO: the same rollouts, the same updates."""

from __future__ import annotations

import math
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from focus_models import (
    IDS,
    KINDS,
    N_ENVS,
    ROLLOUT,
    SIZES,
    STEADY,
    Files,
    flat,
    make_env,
    make_model,
)
from reference_ppo import Spy
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor
from support import T, assert_same

from focusgym.agents import EpisodeBuffer, FocusPPO, GlanceGruExtractor
from focusgym.feature_cache import FeatureCache


class Replay(BaseCallback):
    """Makes a stock PPO take given actions; keeps its buffer and the infos."""

    def __init__(self, actions: list[np.ndarray]) -> None:
        super().__init__()
        self._actions = iter(actions)
        self.buffer: dict[str, np.ndarray] = {}
        self.infos: list[list[dict[str, Any]]] = []

    def _on_training_start(self) -> None:
        policy = self.model.policy

        def forward(obs: Any, deterministic: bool = False) -> tuple[torch.Tensor, ...]:
            actions = torch.from_numpy(next(self._actions))
            values, log_probs, _ = policy.evaluate_actions(obs, actions)
            return actions, values, log_probs

        policy.forward = forward

    def _on_step(self) -> bool:
        self.infos.append(self.locals["infos"])
        return True

    def _on_rollout_end(self) -> None:
        buffer = self.model.rollout_buffer
        for name in ("rewards", "returns", "values", "advantages", "log_probs", "actions"):
            self.buffer[name] = getattr(buffer, name).copy()
        self.buffer |= {key: value.copy() for key, value in buffer.observations.items()}


def stock_ppo(files: Files, focus: FocusPPO, **kwargs: Any) -> PPO:
    """Make Stable-Baselines3's PPO with π's initial weights."""
    env = make_env("pi", files)
    cache = FeatureCache.open(files["cache"])
    model = PPO(
        "MultiInputPolicy",
        env,
        gamma=focus.gamma,
        gae_lambda=focus.gae_lambda,
        ent_coef=focus.ent_coef,
        vf_coef=focus.vf_coef,
        max_grad_norm=focus.max_grad_norm,
        rollout_buffer_class=EpisodeBuffer,
        policy_kwargs={
            "features_extractor_class": GlanceGruExtractor,
            "features_extractor_kwargs": {"cache": cache, **SIZES},
            "net_arch": [],
            "optimizer_kwargs": STEADY["optimizer_kwargs"],
        },
        seed=3,
        device="cpu",
        **kwargs,
    )
    learner, policy = focus.policy.learners["location"], model.policy
    policy.features_extractor.trunk.load_state_dict(learner.extractor.trunk.state_dict())
    policy.action_net.load_state_dict(learner.actor.state_dict())
    policy.value_net.load_state_dict(learner.critic.state_dict())
    return model


@pytest.mark.parametrize("gae_lambda", [1.0, 0.95])
def test_rollouts_are_those_of_sb3s_own_loop(files: Files, gae_lambda: float) -> None:
    """Three episodes per environment, across an epoch; nothing is learned in between."""
    model = make_model("pi", files, gae_lambda=gae_lambda, learning_rate=0.0, seed=3)
    spy = Spy()
    stock = stock_ppo(files, model, n_steps=3 * T, batch_size=3 * T * N_ENVS, n_epochs=1)
    model.learn(3 * ROLLOUT, callback=spy)
    replay = Replay([actions for played in spy.played for actions in played.actions])
    stock.learn(3 * ROLLOUT, callback=replay)
    buffer = replay.buffer
    assert len(spy.played) == 3
    for episode, played in enumerate(spy.played):
        rows = slice(episode * T, (episode + 1) * T)
        assert (buffer["video"][rows, :, 0] == played.rollout.videos).all()
        assert (buffer["t"][rows, :, 0] == np.arange(T)[:, None]).all()
        track = played.rollout.tracks["location"]
        assert np.array_equal(buffer["actions"][rows, :, 0].T, track.actions.numpy())
        assert np.array_equal(buffer["rewards"][rows], np.stack(played.rewards))
        for name in ("returns", "advantages", "values", "log_probs"):
            ours = getattr(track, name).numpy().T
            np.testing.assert_allclose(ours, buffer[name][rows], rtol=0, atol=2e-6, err_msg=name)
        for ours, expected in zip(played.infos, replay.infos[rows], strict=True):
            assert_same(ours, expected, "infos")
        assert played.dones[-1].all()
        assert not np.stack(played.dones[:-1]).any()
    assert list(model.ep_info_buffer) == list(stock.ep_info_buffer)
    assert len(model.ep_info_buffer) == 3 * N_ENVS
    by_hand = buffer["rewards"].reshape(3, T, N_ENVS).sum(1).mean(1)
    np.testing.assert_allclose(model.mean_returns, by_hand, rtol=0, atol=1e-6)
    assert model.num_timesteps == stock.num_timesteps == 3 * ROLLOUT


@pytest.mark.parametrize("n_epochs", [1, 4])
def test_an_update_is_that_of_sb3s_own_ppo(files: Files, n_epochs: int) -> None:
    """One minibatch, so that there is no order: clip, GAE, normalised advantages, clipped norm."""
    keywords = {"n_epochs": n_epochs, "learning_rate": 0.02, "max_grad_norm": 0.2}
    model = make_model("pi", files, policy_kwargs=STEADY, **keywords)
    spy = Spy()
    stock = stock_ppo(
        files, model, n_steps=T, batch_size=T * N_ENVS, n_epochs=n_epochs, learning_rate=0.02
    )
    model.learn(ROLLOUT, callback=spy)
    stock.learn(ROLLOUT, callback=Replay(spy.played[0].actions))
    learner = model.policy.learners["location"]
    for ours, theirs in (
        (learner.extractor.trunk, stock.policy.features_extractor.trunk),
        (learner.actor, stock.policy.action_net),
        (learner.critic, stock.policy.value_net),
    ):
        torch.testing.assert_close(flat(ours), flat(theirs), rtol=0, atol=2e-5)
    # Their last minibatch's loss, our mean over minibatches: the same for one.
    names = ["entropy_loss", "policy_gradient_loss", "value_loss", "clip_fraction"]
    names += ["explained_variance", "n_updates", "clip_range", "learning_rate"]
    names += ["approx_kl", "loss"] if n_epochs == 1 else []
    assert set(model.logger.name_to_value) >= {f"train/{name}" for name in names}
    for name in names:
        logged, expected = (
            m.logger.name_to_value[f"train/{name}"] for m in (model, stock)
        )  # fmt: skip
        assert logged == pytest.approx(expected, abs=1e-5), name
    assert model.logger.name_to_value["train/clip_fraction"] > 0 or n_epochs == 1


@pytest.mark.parametrize("kind", IDS)
@pytest.mark.parametrize("wrapped", [False, True])
def test_single_environments_train_to_the_same_weights(
    files: Files, kind: str, wrapped: bool
) -> None:
    def single(i: int) -> Any:
        env = gymnasium.make(
            f"focusgym.envs:{IDS[kind]}", first_episode=i, episode_stride=N_ENVS,
            observation="index", **files, **KINDS[kind],
        )  # fmt: skip
        return Monitor(env) if wrapped else env

    keywords = {"learning_rate": 1e-2, "batch_size": 2 * T, "n_epochs": 2}
    keywords["policy_kwargs"] = STEADY
    batch, alone = Spy(), Spy()
    model = make_model(kind, files, **keywords)
    model.learn(3 * ROLLOUT, callback=batch)
    env = DummyVecEnv([lambda i=i: single(i) for i in range(N_ENVS)])
    other = make_model(kind, files, env, **keywords)
    other.learn(3 * ROLLOUT, callback=alone)
    for played, expected in zip(alone.played, batch.played, strict=True):
        assert played.rollout.videos.tolist() == expected.rollout.videos.tolist()
        assert np.array_equal(played.taken, expected.taken)
    torch.testing.assert_close(flat(other.policy), flat(model.policy), rtol=0, atol=2e-5)


def test_a_vecmonitor_changes_nothing(files: Files) -> None:
    model = make_model("both", files)
    model.learn(2 * ROLLOUT)
    env = make_env("both", files)
    with pytest.warns(UserWarning, match="already wrapped with a `Monitor`"):
        monitored = VecMonitor(env)
    other = make_model("both", files, monitored)
    other.learn(2 * ROLLOUT)
    assert torch.equal(flat(other.policy), flat(model.policy))
    assert len(other.ep_info_buffer) == len(model.ep_info_buffer) == 2 * N_ENVS
    for info, expected in zip(other.ep_info_buffer, model.ep_info_buffer, strict=True):
        assert info["l"] == expected["l"] == T
        assert info["r"] == pytest.approx(expected["r"], abs=1e-5)


def test_a_single_environment_is_wrapped(files: Files) -> None:
    env = gymnasium.make(f"focusgym.envs:{IDS['pi']}", observation="index", **files)
    keywords = {"max_grad_norm": math.inf, "policy_kwargs": STEADY}
    model = make_model("pi", files, env, **keywords)
    model.learn(3 * T)
    batch = make_model("pi", files, make_env("pi", files, 1), **keywords)
    batch.learn(3 * T)
    torch.testing.assert_close(flat(model.policy), flat(batch.policy), rtol=0, atol=1e-6)
    assert len(model.ep_info_buffer) == 3
