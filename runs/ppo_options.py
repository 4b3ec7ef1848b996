"""From the options of a training to what `FocusPPO` takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ..agents import PlusTraining, PPOConfig
from ..envs import make_design
from .configs.train import PolicyTrainingConfig, SkipConfig
from .options import UsageError, usage


def ppo_config(
    policy: PolicyTrainingConfig, skip: SkipConfig, reward: str | Mapping[str, Any]
) -> PPOConfig:
    """Return how a policy is trained, of options.

    Raises:
        UsageError: If there are two prices of a look, or the reward is unknown.
    """
    options = {name: value for name, value in asdict(policy).items() if name != "threads"}
    if skip.penalty_per_px2 is not None and skip.penalty_per_gmac is not None:
        raise UsageError(
            "--penalty-per-px2 and --penalty-per-gmac: give one of them; where a preset gives the "
            "other, take it away, as in --penalty-per-px2 None"
        )
    prices = {"per_px2": skip.penalty_per_px2, "per_gmac": skip.penalty_per_gmac}
    with usage():
        make_design(reward)
        plus = PlusTraining(
            keep_from=skip.keep_from,
            penalty={name: price for name, price in prices.items() if price is not None} or None,
            keep_ratio=skip.keep_ratio if skip.target_gmacs is None else None,
            target_gmacs=skip.target_gmacs,
            penalty_rate=skip.penalty_rate,
        )
        return PPOConfig(**options, reward=reward, plus=plus if skip.plus else None)
