"""From the options of a training to what `FocusPPO` takes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from ...agents import PlusTraining, PPOConfig
from ...envs import make_design
from ...recognizer import Classifier
from ..configs.train import PolicyTrainingConfig, SkipConfig
from .parse import UsageError, usage


def ppo_config(
    policy: PolicyTrainingConfig, skip: SkipConfig, reward: str | Mapping[str, Any]
) -> PPOConfig:
    """Return how a policy is trained, of options.

    Raises:
        UsageError: If there are two prices of a look, or the reward is unknown.
    """
    options = {name: value for name, value in asdict(policy).items() if name != "threads"}
    for name in ("conv_channels", "hidden"):
        if options[name] is None:  # the paper's
            del options[name]
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


def usual_hidden(glance_channels: int, local_channels: int) -> int:
    """Return how wide f_C usually is: G + L up to a power of two, at most the paper's 1024."""
    return int(min(1024, 2 ** math.ceil(math.log2(glance_channels + local_channels))))


def sized(policy: PolicyTrainingConfig, f_c: Classifier) -> PolicyTrainingConfig:
    """Return the options with sizes of π, where they are not given those that go with f_C.

    π is as wide as f_C's recurrent layer, as in the paper (1024); as wide as such a layer usually
    is where f_C has none. Its 1×1 convolution has an eighth as many channels, at most the paper's
    64.
    """
    hidden = policy.hidden
    if hidden is None:
        hidden = f_c.recurrent_units
    if hidden is None:
        hidden = usual_hidden(f_c.config.glance_channels, f_c.config.local_channels)
    channels = policy.conv_channels
    if channels is None:
        channels = max(1, min(64, hidden // 8))
    return replace(policy, hidden=hidden, conv_channels=channels)
