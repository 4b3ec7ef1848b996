"""A training from its settings to the network: budgets, validation, schedules, prices."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from focus_models import Files
from reference_ppo import Spy
from support import GRID, G, Literal, T

from focusgym.agents import (
    FocusPPO,
    PlusTraining,
    PPOConfig,
    Validation,
    keep_probabilities,
    make_environment,
    policy_plan,
    train_policy,
)
from focusgym.agents.train import make_model
from focusgym.feature_cache import FeatureCache

SMALL: dict[str, Any] = {"n_envs": 6, "minibatch": 3, "conv_channels": 3, "hidden": 8, "lr": 1e-2}
K = GRID**2


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Literal(tmp_path / "literal").files


def train(files: Files, config: PPOConfig, seed: int = 0) -> tuple[Any, list[float]]:
    return train_policy(files["cache"], files["classifier"], config, seed)


@pytest.mark.parametrize("keep_ratio", [0.25, 0.5])
def test_the_threshold_keeps_the_share_that_was_asked_for(files: Files, keep_ratio: float) -> None:
    """ρ is solved on the training videos: as many of their frames as the share says."""
    config = PPOConfig(epochs=4, **SMALL, plus=PlusTraining(keep_ratio=keep_ratio))
    policy, returns = train(files, config)
    assert len(returns) == 4
    cache = FeatureCache.open(files["cache"])
    videos = cache.split("train")
    p = keep_probabilities(policy, cache, videos)
    assert policy.config.threshold is not None
    assert (p >= policy.config.threshold).sum() == round(keep_ratio * len(videos) * T)
    assert policy_plan(policy, cache, videos).kept_share == pytest.approx(keep_ratio)


@pytest.mark.parametrize("share", [0.3, 0.6])
def test_with_a_target_the_threshold_makes_training_videos_cost_it(
    files: Files, share: float
) -> None:
    """Whatever the training came to: after two epochs the price has hardly moved."""
    config = PPOConfig(epochs=2, **SMALL, plus=PlusTraining())
    env = make_environment(files["cache"], files["classifier"], config, 0)
    prices, cache = env.player.prices, env.player.cache
    target = T * (prices.frame_gmacs + share * prices.cost.local_gmacs)
    aim = replace(config, plus=PlusTraining(keep_ratio=None, target_gmacs=target))
    policy, _ = train(files, aim)
    videos = cache.split("train")
    attended = policy_plan(policy, cache, videos).attended
    first = np.zeros(len(videos), dtype=int)
    cost = sum(float(prices.of_segment(first, looks).mean()) for looks in attended.T)
    a_frame = prices.cost.local_gmacs / len(videos)
    assert cost == pytest.approx(target, abs=a_frame)


def test_adafocus_has_no_threshold_and_the_plus_of_it_has_two_networks(files: Files) -> None:
    policy, _ = train(files, PPOConfig(epochs=1, **SMALL))
    assert policy.config.threshold is None
    assert policy.keep is None
    assert not policy.training
    plus, _ = train(files, PPOConfig(epochs=1, **SMALL, plus=PlusTraining()))
    assert plus.keep is not None
    assert not plus.training
    config = plus.config
    assert (config.map_height, config.map_width, config.glance_channels) == (3, 3, G)
    assert (config.n_options, config.conv_channels, config.hidden) == (K, 3, 8)


def test_the_price_of_the_settings_is_the_environment_s(files: Files) -> None:
    config = PPOConfig(epochs=1, **SMALL, plus=PlusTraining(penalty={"per_px2": 0.5}))
    env = make_environment(files["cache"], files["classifier"], config, 0)
    assert env.player.prices.penalty == pytest.approx(0.5 * 12**2)
    config = PPOConfig(epochs=1, **SMALL, plus=PlusTraining())
    env = make_environment(files["cache"], files["classifier"], config, 0)
    assert env.player.prices.penalty == pytest.approx(1e-6 * 12**2), "the paper's λ"


def test_what_the_policies_spend_is_charged(files: Files) -> None:
    """Multiply-adds of the networks as they are drawn in the paper, f_G's and f_C's apart."""
    trunk = 9 * G * 3 + 9 * 3 * 8 + 3 * 8 * (8 + 8)
    for plus, expected in ((None, trunk + 8 * K), (PlusTraining(), 2 * trunk + 8 * K + 8)):
        config = PPOConfig(epochs=1, **SMALL, plus=plus)
        env = make_environment(files["cache"], files["classifier"], config, 0, split="val")
        assert env.player.prices.cost.policy_gmacs * 1e9 == pytest.approx(expected, rel=1e-3)
        assert env.player.config.split == "val"
        assert env.player.config.observation == "index"


@pytest.mark.parametrize("decay", [True, False])
def test_the_learning_rate_falls_to_zero_or_does_not(
    files: Files, decay: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates: list[float] = []
    learn = FocusPPO.train

    def spy(model: FocusPPO) -> None:
        learn(model)
        rates.extend({group["lr"] for group in model.policy.optimizer.param_groups})

    monkeypatch.setattr(FocusPPO, "train", spy)
    train(files, PPOConfig(epochs=4, **SMALL, lr_decay=decay))
    # As Stable-Baselines3 has it: by what remains after the rollout that is trained on.
    assert rates == pytest.approx(
        [1e-2 * left for left in ((0.75, 0.5, 0.25, 0) if decay else [1] * 4)]
    )


def mean_confidence(files: Files, policy: Any, split: str) -> float:
    """Of looking where the policy finds it best, from single environments."""
    cache = FeatureCache.open(files["cache"])
    videos = cache.split(split)
    options = policy_plan(policy, cache, videos).options
    env = gymnasium.make("focusgym.envs:focusgym/AdaFocus-v0", split=split, order="listed", **files)
    confidences = []
    for row in options:
        env.reset()
        confidences += [env.step(option)[-1]["confidence"] for option in row]
    return float(np.mean(confidences))


def test_validation_keeps_the_best_weights(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps so large that weights get worse; each score is that of single environments.

    Of which seed the last weights are not the best, rounding may decide: the first such is taken.
    """
    models: list[FocusPPO] = []
    scores: list[float] = []
    score = Validation._score

    def spy(self: Validation, model: FocusPPO) -> None:
        score(self, model)
        models.append(model)
        confidence = mean_confidence(files, model.network(), "val")
        assert model.logger.name_to_value["validation/score"] == pytest.approx(confidence, abs=1e-5)
        scores.append(confidence)
        assert model.best_score == pytest.approx(max(scores), abs=1e-5)

    monkeypatch.setattr(Validation, "_score", spy)
    config = PPOConfig(epochs=9, **{**SMALL, "lr": 0.05}, lr_decay=False, validations=3)
    for seed in range(20):
        scores.clear()
        policy, _ = train(files, config, seed)
        assert len(scores) == 3, "after 3, 6 and 9 rollouts"
        best = max(scores)
        assert mean_confidence(files, policy, "val") == pytest.approx(best, abs=1e-5)
        assert mean_confidence(files, models[-1].network(), "val") == pytest.approx(best, abs=1e-5)
        if scores[-1] < best - 0.01:
            break
    else:
        raise AssertionError("the last weights were always the best: this shows nothing")
    without, _ = train(files, replace(config, validations=0), seed)
    assert mean_confidence(files, without, "val") < best - 0.005


def test_rollouts_of_a_training(files: Files) -> None:
    """As many as the videos of all epochs fill; at least one."""
    for epochs, n_envs, expected in ((3, 6, 3), (3, 4, 4), (1, 50, 1), (5, 8, 3)):
        config = PPOConfig(epochs, **{**SMALL, "n_envs": n_envs, "minibatch": None})
        assert len(train(files, config)[1]) == expected == max(1, epochs * 6 // n_envs)


def test_the_reward_of_the_settings_is_trained_on(files: Files) -> None:
    """With the confidence as reward, returns are sums of the probabilities that infos tell."""
    config = PPOConfig(epochs=2, **SMALL, reward="confidence")
    model = make_model(files["cache"], files["classifier"], config, 0)
    spy = Spy()
    model.learn(2 * config.n_envs * T, callback=spy)
    assert len(spy.played) == 2
    for played, mean_return in zip(spy.played, model.mean_returns, strict=True):
        confidences = np.array(
            [[info["confidence"] for info in step] for step in played.infos]
        )  # (T, N)
        assert mean_return == pytest.approx(confidences.sum(axis=0).mean(), abs=1e-5)
    assert train(files, config)[1] == model.mean_returns
    exact = {"name": "increment_over_random", "draws": None}
    _, others = train(files, PPOConfig(epochs=2, **SMALL, reward=exact))
    # Of looking less the mean of looking: what is taken off is most of it.
    assert max(map(abs, others)) < min(model.mean_returns) / 2


def test_global_generators_are_left_to_others(files: Files) -> None:
    """What was drawn before a training does not change it."""
    weights = []
    for noise in (1, 2):
        torch.manual_seed(noise)
        np.random.seed(noise)  # noqa: NPY002
        policy, _ = train(files, PPOConfig(epochs=2, **SMALL, plus=PlusTraining()))
        weights.append(torch.cat([p.flatten() for p in policy.parameters()]))
    assert torch.equal(*weights)
