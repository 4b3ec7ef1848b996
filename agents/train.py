"""Stage II: training π with Stable-Baselines3's PPO on the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from tqdm import tqdm

from ..envs import AdaFocusVecEnv, EnvConfig
from ..recognizer import PolicyNetwork
from .sb3_parts import EpisodeBuffer, GlanceGruExtractor


@dataclass(frozen=True)
class PPOConfig:
    """How π is built and trained.

    Attributes:
        epochs: Passes over the training videos.
        n_envs: Episodes per rollout.
        minibatch: Episodes per gradient step.
        update_epochs: Passes over each rollout.
        lr: Adam's learning rate at the start; it falls to zero linearly.
        gamma: Discount (0.7 in the paper).
        gae_lambda: λ of generalized advantage estimation.
        clip_range: PPO's ε.
        ent_coef: Weight of the entropy bonus (0.01 in the released code).
        vf_coef: Weight of the value loss.
        max_grad_norm: Gradients are clipped to this norm.
        reward: A reward design by name, or with parameters; see `make_design`.
        conv_channels: Channels after π's 1×1 convolution.
        hidden: Width of π's linear layer and GRU.

    Raises:
        ValueError: If there are no epochs, or minibatches do not divide the rollout.
    """

    epochs: int
    n_envs: int = 256
    minibatch: int = 64
    update_epochs: int = 4
    lr: float = 1e-3
    gamma: float = 0.7
    gae_lambda: float = 0.95
    clip_range: float = 0.2
    ent_coef: float = 0.01
    vf_coef: float = 0.5
    max_grad_norm: float = 0.5
    reward: str | Mapping[str, Any] = "increment_over_random"
    conv_channels: int = 64
    hidden: int = 1024

    def __post_init__(self) -> None:
        """Check that the minibatches divide the rollout."""
        if self.epochs < 1 or self.minibatch < 1 or self.n_envs % self.minibatch:
            raise ValueError(
                "epochs must be at least 1 and minibatch must divide n_envs; got "
                f"epochs={self.epochs}, minibatch={self.minibatch}, n_envs={self.n_envs}"
            )


def train_policy(
    cache: str | os.PathLike[str],
    classifier: str | os.PathLike[str],
    config: PPOConfig,
    seed: int,
    group: str | None = None,
) -> tuple[PolicyNetwork, list[float]]:
    """Train π on the training split (stage II), f_G, f_L and f_C frozen.

    Args:
        cache: Folder of the feature cache.
        classifier: Folder of the classifier bundle.
        config: How.
        seed: Seed of weights, episodes, actions and minibatches.
        group: Name of the cache's option group; needed where it holds several.

    Returns:
        π, in eval mode; and the mean return per episode of each rollout.

    Raises:
        CacheError: If the cache cannot be opened.
        BundleError: If the classifier belongs to another cache.

    Source: AdaFocus (arXiv:2105.03245) section 3.2, stage II (Eq. 6, γ = 0.7).
    """
    env = AdaFocusVecEnv(
        EnvConfig(
            cache,
            classifier,
            observation="index",
            reward=config.reward,
            seed=seed,
            group=group,
        ),
        config.n_envs,
    )
    steps = env.player.cache.steps
    videos = len(env.player.cache.split("train"))
    rollouts = max(1, config.epochs * videos // config.n_envs)
    model = PPO(
        "MultiInputPolicy",
        env,
        learning_rate=lambda remaining: config.lr * remaining,
        n_steps=steps,
        batch_size=config.minibatch * steps,
        n_epochs=config.update_epochs,
        gamma=config.gamma,
        gae_lambda=config.gae_lambda,
        clip_range=config.clip_range,
        ent_coef=config.ent_coef,
        vf_coef=config.vf_coef,
        max_grad_norm=config.max_grad_norm,
        rollout_buffer_class=EpisodeBuffer,
        policy_kwargs={
            "features_extractor_class": GlanceGruExtractor,
            "features_extractor_kwargs": {
                "cache": env.player.cache,
                "conv_channels": config.conv_channels,
                "hidden": config.hidden,
            },
            "net_arch": [],
            "ortho_init": False,
        },
        stats_window_size=config.n_envs,  # SB3 then averages over just the last rollout
        seed=seed,
        device="cpu",
    )
    progress = _Progress(rollouts)
    model.learn(rollouts * steps * config.n_envs, callback=progress)
    extractor = cast(GlanceGruExtractor, model.policy.features_extractor)
    policy = PolicyNetwork(extractor.config)
    policy.trunk.load_state_dict(extractor.trunk.state_dict())
    policy.actor.load_state_dict(model.policy.action_net.state_dict())
    return policy.eval(), progress.returns


class _Progress(BaseCallback):
    """A progress bar over rollouts, with the mean return per episode."""

    def __init__(self, rollouts: int) -> None:
        super().__init__()
        self._rollouts = rollouts
        self.returns: list[float] = []

    def _on_training_start(self) -> None:
        self._bar = tqdm(total=self._rollouts, desc="stage II: PPO", unit="rollout")

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        mean = float(np.mean([info["r"] for info in self.model.ep_info_buffer or ()]))
        self.returns.append(mean)
        self._bar.set_postfix({"return": f"{mean:+.3f}"})
        self._bar.update()

    def _on_training_end(self) -> None:
        self._bar.close()
