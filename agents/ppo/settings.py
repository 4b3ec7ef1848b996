"""Settings of a training with FocusPPO, and which go together. Imports nothing heavy."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Protocol


@dataclass(frozen=True)
class PPOSettings:
    """How π, and π′, are trained: what the library and the command line have in common.

    Attributes:
        epochs: Passes over the training videos.
        n_envs: Episodes per rollout.
        minibatch: Episodes per gradient step; None for the whole rollout.
        update_epochs: Passes over each rollout.
        lr: Adam's learning rate at the start.
        lr_decay: Let it fall to zero linearly.
        gamma: Discount of later rewards.
        gae_lambda: λ of generalized advantage estimation.
        clip_range: PPO's ε.
        normalize: What is normalised: advantages over each minibatch, or returns over each rollout.
        ent_coef: Weight of the entropy bonus.
        vf_coef: Weight of the critic's loss.
        max_grad_norm: Gradients of each network are clipped to this norm; inf never.
        validations: How often π is scored on the split val, whose best weights are kept; 0 keeps
            the last ones.
    """

    epochs: int = 20
    n_envs: int = 256
    minibatch: int | None = 64
    update_epochs: int = 4
    lr: float = 1e-3
    lr_decay: bool = True
    gamma: float = 0.7
    gae_lambda: float = 0.95
    clip_range: float = 0.2
    normalize: Literal["advantages", "returns"] = "advantages"
    ent_coef: float = 0.01
    vf_coef: float = 0.5
    max_grad_norm: float = 0.5
    validations: int = 0


@dataclass(frozen=True, kw_only=True)
class PlusSettings:
    """How π′ is trained: what the library and the command line have in common.

    Attributes:
        keep_from: Share of the training after which π′ joins; before, all frames are looked at.
            None is 0.5, or with ``target_gmacs`` 0.2: the price needs time to come to rest.
        target_gmacs: The cost of a video, GMACs, instead of a share of kept frames. The penalty is
            adapted to it in the training, and ρ is then solved for it as for a share.
        penalty_rate: How fast it is adapted; see `DualAscent`.
    """

    keep_from: float | None = None
    target_gmacs: float | None = None
    penalty_rate: float = 0.02


class Settings(Protocol):
    """What `check_settings` reads of a `FocusPPO`."""

    n_steps: int
    batch_size: int
    n_epochs: int
    gae_lambda: float
    normalize_advantage: bool
    normalize_returns: bool
    keep_from: float
    penalty_rate: float


def check_settings(model: Settings) -> None:
    """Check settings that Stable-Baselines3 does not know, or not for whole episodes.

    Raises:
        ValueError: If one is out of range, or two do not go together.
    """
    size: int | None = model.batch_size
    if size is not None and (size < 1 or size % model.n_steps):
        raise ValueError(
            f"batch_size must be a multiple of the {model.n_steps} decisions of an episode, so "
            f"that minibatches hold whole episodes; got {size}"
        )
    if model.normalize_returns and (model.gae_lambda != 1 or model.normalize_advantage):
        raise ValueError(
            "normalize_returns wants gae_lambda=1 and normalize_advantage=False: advantages are "
            f"then normalised returns less values, nothing else; got {model.gae_lambda} and "
            f"{model.normalize_advantage}"
        )
    if model.n_epochs < 1 or not 0 < model.penalty_rate < math.inf:
        raise ValueError(
            "n_epochs must be at least 1 and penalty_rate a positive number; got "
            f"{model.n_epochs} and {model.penalty_rate}"
        )
    if not 0 <= model.keep_from < 1:
        raise ValueError(
            f"keep_from must be a share of the training in [0, 1); got {model.keep_from}"
        )
