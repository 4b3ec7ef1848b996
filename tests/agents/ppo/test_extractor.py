"""π's trunk inside algorithms of others: they train it, for AdaFocus and for pairs of actions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from focus_models import IDS, N_ENVS, ROLLOUT, SIZES, Files, make_env
from sb3_contrib import MaskablePPO, RecurrentPPO
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from support import Literal, T

from focusgym.agents import GlanceGruExtractor
from focusgym.feature_cache import FeatureCache

SETTINGS: dict[type[BaseAlgorithm], dict[str, Any]] = {
    PPO: {"n_steps": T, "batch_size": ROLLOUT // 2, "n_epochs": 2},
    A2C: {"n_steps": T},
    MaskablePPO: {"n_steps": T, "batch_size": ROLLOUT // 2, "n_epochs": 2},
}


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Literal(tmp_path / "literal").files


def make_model(
    algorithm: type[BaseAlgorithm], kind: str, files: Files, env: Any = None, **kwargs: Any
) -> BaseAlgorithm:
    return algorithm(
        "MultiInputPolicy",
        make_env(kind, files) if env is None else env,
        policy_kwargs={
            "features_extractor_class": GlanceGruExtractor,
            "features_extractor_kwargs": {"cache": FeatureCache.open(files["cache"]), **SIZES},
            "net_arch": [],
        },
        learning_rate=1e-2,
        seed=0,
        device="cpu",
        **{**SETTINGS[algorithm], **kwargs},
    )


@pytest.mark.parametrize("kind", IDS)
@pytest.mark.parametrize("algorithm", SETTINGS)
def test_algorithms_of_sb3_train_the_trunk(
    files: Files, algorithm: type[BaseAlgorithm], kind: str
) -> None:
    model = make_model(algorithm, kind, files)
    trunk = model.policy.features_extractor.trunk
    before = {name: p.detach().clone() for name, p in trunk.named_parameters()}
    model.learn(3 * ROLLOUT)
    for name, parameter in trunk.named_parameters():
        assert parameter.grad is not None
        assert parameter.grad.abs().max() > 0, name
        assert not torch.equal(parameter, before[name]), name
        assert parameter.isfinite().all()
    observation = model.env.reset()
    actions, state = model.predict(observation, deterministic=True)
    assert state is None
    assert np.array_equal(actions, model.predict(observation, deterministic=True)[0])
    assert actions.shape == (N_ENVS,) if kind == "pi" else (N_ENVS, 2)


def test_the_gradient_goes_through_whole_episodes(files: Files) -> None:
    """Of a loss on some steps alone, of a video twice: as autograd has it, step by step."""
    extractor = make_model(PPO, "pi", files).policy.features_extractor
    videos = np.array([4, 1, 4])
    observation = {"video": torch.from_numpy(videos)[:, None], "t": torch.tensor([[3], [3], [1]])}
    extractor(observation).square().sum().backward()
    gradients = [p.grad.clone() for p in extractor.parameters()]
    extractor.zero_grad()
    total, trunk = torch.zeros(()), extractor.trunk
    for video, last in zip(videos, (3, 3, 1), strict=True):
        maps, state = FeatureCache.open(files["cache"]).glance_maps(np.array([video])), None
        for t in range(last + 1):
            x = trunk.linear(trunk.conv(maps[:, t]).relu().flatten(1)).relu()
            out, state = trunk.gru(x[:, None], state)
        total = total + out.square().sum()
    total.backward()
    for one, p in zip(gradients, extractor.parameters(), strict=True):
        torch.testing.assert_close(one, p.grad, rtol=1e-4, atol=1e-6)


class FirstLoss(BaseCallback):
    """Compares log-probabilities of a rollout with those that its update begins with."""

    def __init__(self) -> None:
        super().__init__()
        self.differences: list[float] = []

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        buffer = self.model.rollout_buffer
        observations = {
            key: torch.from_numpy(value.reshape(-1, 1))
            for key, value in buffer.observations.items()
        }
        actions = torch.from_numpy(buffer.actions.reshape(ROLLOUT, -1))
        with torch.enable_grad():
            values, log_probs, _ = self.model.policy.evaluate_actions(observations, actions)
        for evaluated, collected in (
            (log_probs, buffer.log_probs),
            (values.flatten(), buffer.values),
        ):
            self.differences.append(
                float(np.abs(evaluated.detach().numpy() - collected.ravel()).max())
            )


@pytest.mark.parametrize("algorithm", [PPO, A2C])
def test_pairs_are_one_agent_on_the_summed_reward(
    files: Files, algorithm: type[BaseAlgorithm]
) -> None:
    """What was acted with is what is trained; the reward is r + r′."""
    model, first = make_model(algorithm, "both", files), FirstLoss()
    infos: list[dict[str, Any]] = []
    rewards: list[np.ndarray] = []

    class Keep(BaseCallback):
        def _on_step(self) -> bool:
            infos.extend(self.locals["infos"])
            rewards.append(self.locals["rewards"].copy())
            return True

    model.learn(2 * ROLLOUT, callback=[first, Keep()])
    assert len(first.differences) == 4
    assert max(first.differences) < 1e-5
    expected = [info["reward_location"] + info["reward_skip"] for info in infos]
    np.testing.assert_allclose(np.concatenate(rewards), expected, rtol=0, atol=1e-6)
    assert len({info["attended"] for info in infos}) == 2


def test_maskable_ppo_with_the_trunk_keeps_to_a_budget(files: Files) -> None:
    frame = make_env("both", files).player.prices.frame_gmacs
    budget = T * frame + 2 * 1.5  # two looks of four
    env = make_env("both", files, budget_gmacs=budget, options_allowed=[2, 6])
    model = make_model(MaskablePPO, "both", files, env)
    played: list[tuple[np.ndarray, list[dict[str, Any]]]] = []

    def keep(seen: dict[str, Any], _: Any) -> bool:
        played.append((seen["actions"], seen["infos"]))
        return True

    model.learn(4 * ROLLOUT, callback=keep)
    actions = np.stack([a for a, _ in played])
    assert set(np.unique(actions[..., 0])) == {2, 6}
    attended = np.array([[info["attended"] for info in infos] for _, infos in played])
    assert np.array_equal(attended, actions[..., 1] == 1), "no look was taken back"
    assert (attended.reshape(4, T, N_ENVS).sum(axis=1) <= 2).all()


def test_recurrent_ppo_trains_on_maps(files: Files) -> None:
    """The other way to a recurrent policy, which the trunk makes needless."""
    model = RecurrentPPO(
        "MlpLstmPolicy", make_env("both", files, observation="map"), n_steps=T, batch_size=2 * T,
        n_epochs=1, policy_kwargs={"lstm_hidden_size": 8, "net_arch": []}, seed=0, device="cpu",
    )  # fmt: skip
    lstm = model.policy.lstm_actor
    before = lstm.weight_ih_l0.detach().clone()
    model.learn(2 * ROLLOUT)
    assert lstm.weight_ih_l0.grad.abs().max() > 0
    assert not torch.equal(lstm.weight_ih_l0, before)
