"""Stage II: training π, or π and π′, with FocusPPO on the environment."""

from __future__ import annotations

import os
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import torch
from stable_baselines3.common.callbacks import BaseCallback
from tqdm import tqdm

from ..envs import EnvConfig, FocusVecEnv, PlusConfig, open_source
from ..envs.rewards.designs import stored_reward
from ..feature_cache import FeatureCache, fingerprint
from ..recognizer import CheckpointError, PolicyConfig, PolicyNetwork, policy_gmacs
from .budget import keep_threshold
from .checkpoints.checkpoint import Checkpoints, load_checkpoint
from .ppo.focus_ppo import FocusPPO
from .presets import PPOConfig
from .training_log import TrainingLog
from .validation import Validation


def train_policy(
    cache: str | os.PathLike[str],
    classifier: str | os.PathLike[str],
    config: PPOConfig,
    seed: int,
    group: str | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_s: float = 60.0,
    device: str = "cpu",
) -> tuple[PolicyNetwork, list[float]]:
    """Train π, or π and π′, on the training split (stage II), f_G, f_L and f_C frozen.

    Args:
        cache: Folder of the feature cache.
        classifier: Folder of the classifier bundle.
        config: Settings of the training.
        seed: Seed of weights, episodes, actions and minibatches.
        group: Name of the cache's option group; needed where it holds several.
        checkpoint: File for checkpoints: a training that was interrupted goes on from it; None
            keeps none.
        checkpoint_s: Least time between two checkpoints, seconds; 0 writes before each rollout.
        device: Where environments and networks compute, such as ``cuda``.

    Returns:
        The policy network, in eval mode, with ρ for AdaFocus+; and the mean return per episode of
        each rollout.

    Raises:
        CacheError: If the cache cannot be opened.
        BundleError: If the classifier belongs to another cache.
        ValueError: If the settings do not go together.
        CheckpointError: If the checkpoint is damaged or that of another training, cannot be
            written, or the reward is a Python object, which cannot be stored in one.

    Source: AdaFocus (arXiv:2105.03245) section 3.2, stage II (Eq. 6, γ = 0.7), and section 3.3.
    """
    model = make_model(cache, classifier, config, seed, group, device)
    return train_model(model, config, seed, checkpoint, checkpoint_s)


def make_model(
    cache: str | os.PathLike[str],
    classifier: str | os.PathLike[str],
    config: PPOConfig,
    seed: int,
    group: str | None = None,
    device: str = "cpu",
) -> FocusPPO:
    """Make the environments and the networks of a training, as `train_policy`; write nothing."""
    env = make_environment(cache, classifier, config, seed, group, device=device)
    features = env.player.cache
    return FocusPPO(
        "GruPolicy",
        env,
        stats_window_size=config.n_envs,  # SB3 then averages over just the last rollout
        seed=seed,
        device=str(features.device),
        **config.keywords(features.steps),
    )


def train_model(
    model: FocusPPO,
    config: PPOConfig,
    seed: int,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_s: float = 60.0,
    logs: str | os.PathLike[str] | None = None,
) -> tuple[PolicyNetwork, list[float]]:
    """Train what `make_model` made.

    Args:
        model: The model.
        config: As of `make_model`.
        seed: As of `make_model`.
        checkpoint: As of `train_policy`.
        checkpoint_s: As of `train_policy`.
        logs: Folder for Stable-Baselines3's ``progress.csv`` and TensorBoard's events, see
            `TrainingLog`; None writes none.

    Returns:
        As `train_policy`.

    Raises:
        CheckpointError: As `train_policy`.
    """
    player = model.players[0]
    features = player.cache
    rollouts = max(1, config.epochs * len(features.split("train")) // config.n_envs)
    total = rollouts * features.steps * config.n_envs
    identity = "" if checkpoint is None else _identity(config, seed)
    if checkpoint is not None and Path(checkpoint).exists():
        load_checkpoint(checkpoint, model, identity)
    if logs is not None:
        model.set_logger(TrainingLog(logs, features.steps * config.n_envs, total))
    progress = Progress(rollouts, model.n_rollouts)
    callbacks: list[BaseCallback] = [progress]
    if checkpoint is not None:  # before those whose work is done anew after it was loaded
        callbacks.insert(0, Checkpoints(checkpoint, checkpoint_s, identity))
    if config.validations and config.plus is None:
        source = open_source(player.config)
        callbacks.append(Validation(source, every=-(-rollouts // config.validations)))
    try:
        # Also where nothing is left to train: the last weights may not have been scored.
        model.learn(total - model.num_timesteps, callbacks, reset_num_timesteps=False)
    finally:
        progress.close()
        if logs is not None:
            model.logger.close()
    if model.best_weights is not None:
        model.policy.load_state_dict(model.best_weights)
    policy = model.network()
    share = None if config.plus is None else config.plus.keep_ratio or model.target_share
    if share is not None:
        train = features.split("train")
        policy = model.network(keep_threshold(policy, features, train, share))
    return policy, model.mean_returns


def trained_penalty(model: FocusPPO) -> dict[str, float] | None:
    """Return the price of a look that π′ was trained with, as `PlusConfig.penalty`.

    Where the training adapted it to a target it is the one that it came to. None without π′.
    """
    player = model.players[0]
    price = player.config.look_price
    if price is None or model.target_gmacs is None:
        return None if price is None else dict(price)
    return {"per_px2": player.prices.penalty / player.cache.places.side_px**2}


def make_environment(
    cache: str | os.PathLike[str],
    classifier: str | os.PathLike[str],
    config: PPOConfig,
    seed: int,
    group: str | None = None,
    **keywords: Any,
) -> FocusVecEnv:
    """Make the environments of a training, which charge what the policy spends.

    Args:
        cache: Folder of the feature cache.
        classifier: Folder of the classifier bundle.
        config: How the policy is trained.
        seed: Seed of the episodes.
        group: Name of the cache's option group.
        **keywords: More of `EnvConfig`, such as ``split``.

    Raises:
        CacheError: If the cache cannot be opened.
        BundleError: If the classifier belongs to another cache.
    """
    features = FeatureCache.open(cache, group)
    shared = EnvConfig(
        cache,
        classifier,
        group=group,
        observation="index",
        reward=config.reward,
        seed=seed,
        policy_gmacs=_policy_gmacs(features, config),
        **keywords,
    )
    if config.plus is None:
        return FocusVecEnv(shared, config.n_envs)
    priced = PlusConfig(**{each.name: getattr(shared, each.name) for each in fields(shared)})
    if config.plus.penalty is not None:
        priced = replace(priced, penalty=config.plus.penalty)
    return FocusVecEnv(priced, config.n_envs)


def _identity(config: PPOConfig, seed: int) -> str:
    """Return what tells a training from others in its checkpoints."""
    try:
        named = replace(config, reward=stored_reward(config.reward))
    except ValueError as error:
        raise CheckpointError(f"{error}; or train without checkpoints") from error
    return fingerprint({**asdict(named), "seed": seed})


def _policy_gmacs(cache: FeatureCache, config: PPOConfig) -> float:
    """Return what π, and π′, spend on a frame."""
    height, width, channels = cache.map_shape
    sizes = PolicyConfig(
        height,
        width,
        channels,
        cache.n_options,
        config.conv_channels,
        config.hidden,
        threshold=None if config.plus is None else 0.5,
    )
    with torch.random.fork_rng(devices=[]):
        return policy_gmacs(PolicyNetwork(sizes))


class Progress(BaseCallback):
    """A progress bar over rollouts, with the mean return per episode."""

    def __init__(self, rollouts: int, done: int) -> None:
        """Take the number of rollouts in all, and of those that are done."""
        super().__init__()
        self._bar = tqdm(total=rollouts, initial=done, desc="stage II: PPO", unit="rollout")

    def close(self) -> None:
        """End the bar."""
        self._bar.close()

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        assert isinstance(self.model, FocusPPO)
        for key in ("correct", "gmacs"):  # of the episodes of this rollout, as they ended
            ends = [float(end[key]) for end in self.model.ep_info_buffer or ()]
            self.logger.record(f"rollout/{key}", sum(ends) / len(ends))
        self._bar.set_postfix({"return": f"{self.model.mean_returns[-1]:+.3f}"})
        self._bar.update()
