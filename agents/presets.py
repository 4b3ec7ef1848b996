"""How policies are trained: the settings, and two sets of them with names."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from stable_baselines3.common.utils import LinearSchedule

from ..envs.rewards.designs import Reward
from .ppo.settings import PlusSettings, PPOSettings


@dataclass(frozen=True, kw_only=True)
class PlusTraining(PlusSettings):
    """What AdaFocus+ has besides: see `PlusSettings` for the other settings.

    Attributes:
        penalty: Price of looking in Eq. 10, as `PlusConfig.penalty`.
        keep_ratio: η, the share of training frames that are kept: it gives ρ after the training.
            None with ``target_gmacs``.

    Raises:
        ValueError: If not exactly one of ``keep_ratio`` and ``target_gmacs`` is given, or the
            former is not in (0, 1].

    Source: AdaFocus (arXiv:2105.03245) section 3.3 and appendix B.1; the target is ours.
    """

    penalty: Mapping[str, float] | None = None
    keep_ratio: float | None = 0.5

    def __post_init__(self) -> None:
        """Check that there is one aim."""
        if (self.keep_ratio is None) == (self.target_gmacs is None):
            raise ValueError(
                "expected either keep_ratio or target_gmacs, the other None; got "
                f"{self.keep_ratio} and {self.target_gmacs}"
            )
        if self.keep_ratio is not None and not 0 < self.keep_ratio <= 1:
            raise ValueError(
                f"keep_ratio must be in (0, 1], the share of frames to look at; got "
                f"{self.keep_ratio}"
            )

    @property
    def joins_at(self) -> float:
        """Share of the training after which π′ joins."""
        usual = 0.5 if self.target_gmacs is None else 0.2
        return usual if self.keep_from is None else self.keep_from


@dataclass(frozen=True)
class PPOConfig(PPOSettings):
    """How π, and π′, are built and trained: see `PPOSettings` for the other settings.

    AdaFocus+ always keeps the last weights, whatever ``validations``: π and π′ belong together.

    Attributes:
        conv_channels: Channels after the 1×1 convolution.
        hidden: Width of the linear layer and the GRU.
        reward: A reward design by name, or with parameters, or a Python function or object, with
            which no checkpoints are kept; see `make_design`.
        plus: What AdaFocus+ has besides; None trains AdaFocus.

    Raises:
        ValueError: If there are no epochs, minibatches do not divide the rollout, or ``normalize``
            is unknown.
    """

    conv_channels: int = 64
    hidden: int = 1024
    reward: Reward = "increment_over_random"
    plus: PlusTraining | None = None

    def __post_init__(self) -> None:
        """Check that the minibatches divide the rollout."""
        minibatch = self.n_envs if self.minibatch is None else self.minibatch
        if self.epochs < 1 or minibatch < 1 or self.n_envs % minibatch:
            raise ValueError(
                "epochs must be at least 1 and minibatch must divide n_envs; got "
                f"epochs={self.epochs}, minibatch={self.minibatch}, n_envs={self.n_envs}"
            )
        if self.normalize not in ("advantages", "returns"):
            raise ValueError(f"normalize must be 'advantages' or 'returns'; got {self.normalize!r}")

    def keywords(self, steps: int) -> dict[str, Any]:
        """Return the keywords of `FocusPPO`, for episodes of ``steps`` decisions."""
        plus = self.plus or PlusTraining()
        return {
            "learning_rate": LinearSchedule(self.lr, 0.0, 1.0) if self.lr_decay else self.lr,
            "batch_size": None if self.minibatch is None else self.minibatch * steps,
            "n_epochs": self.update_epochs,
            "gamma": self.gamma,
            "gae_lambda": self.gae_lambda,
            "clip_range": self.clip_range,
            "normalize_advantage": self.normalize == "advantages",
            "normalize_returns": self.normalize == "returns",
            "ent_coef": self.ent_coef,
            "vf_coef": self.vf_coef,
            "max_grad_norm": self.max_grad_norm,
            "keep_from": plus.joins_at,
            "target_gmacs": plus.target_gmacs,
            "penalty_rate": plus.penalty_rate,
            "policy_kwargs": {"conv_channels": self.conv_channels, "hidden": self.hidden},
        }


PRESETS: dict[str, PPOConfig] = {
    # Appendix B.1 and the released code: REINFORCE with a baseline, in effect.
    "paper": PPOConfig(
        epochs=50,
        n_envs=64,
        minibatch=None,
        update_epochs=1,
        lr=3e-4,
        lr_decay=False,
        gae_lambda=1.0,
        normalize="returns",
        max_grad_norm=math.inf,
    ),
    # Tuned on the embedded digits.
    "ppo": PPOConfig(epochs=20),
}
# π′ for the last 10 of 50 epochs: our reading of "π/π′ for 50/10 epochs".
PRESETS["paper_plus"] = replace(PRESETS["paper"], plus=PlusTraining(keep_from=0.8))
PRESETS["ppo_plus"] = replace(PRESETS["ppo"], plus=PlusTraining())
