"""From the options of a training to what `FocusPPO` takes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

from ..agents import PlusTraining, PPOConfig
from ..envs import make_design
from ..recognizer import ClassifierConfig
from .configs.train import PolicyTrainingConfig, SkipConfig
from .options import UsageError, usage

# Each option's range, in words and as a rule; what is not given is not checked.
_AT_LEAST_ONE = ("an integer of at least 1", lambda value: value >= 1)
_POSITIVE = ("a positive number", lambda value: 0 < value < math.inf)
_NOT_NEGATIVE = ("a number of at least 0", lambda value: 0 <= value < math.inf)
_SHARE = ("in [0, 1]", lambda value: 0 <= value <= 1)
_RANGES: Mapping[str, tuple[str, Callable[[float], bool]]] = {
    **dict.fromkeys(("epochs", "n_envs", "minibatch", "update_epochs"), _AT_LEAST_ONE),
    **dict.fromkeys(("conv_channels", "hidden", "threads"), _AT_LEAST_ONE),
    **dict.fromkeys(("lr", "clip_range", "target_gmacs", "penalty_rate"), _POSITIVE),
    **dict.fromkeys(("ent_coef", "vf_coef", "penalty_per_px2", "penalty_per_gmac"), _NOT_NEGATIVE),
    **dict.fromkeys(("gamma", "gae_lambda"), _SHARE),
    "validations": ("an integer of at least 0", lambda value: value >= 0),
    "max_grad_norm": ("a positive number, or inf", lambda value: value > 0),
    "keep_from": ("in [0, 1)", lambda value: 0 <= value < 1),
    "keep_ratio": ("in (0, 1]", lambda value: 0 < value <= 1),
}


def ppo_config(
    policy: PolicyTrainingConfig, skip: SkipConfig, reward: str | Mapping[str, Any]
) -> PPOConfig:
    """Return how a policy is trained, of options.

    Raises:
        UsageError: If a number is out of range, there are two prices of a look, or the reward is
            unknown.
    """
    _check_ranges({**asdict(policy), **asdict(skip)})
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


def sized(policy: PolicyTrainingConfig, f_c: ClassifierConfig) -> PolicyTrainingConfig:
    """Return the options with sizes of π, where they are not given those that go with f_C.

    π is as wide as f_C's GRU, as in the paper (1024); as wide as such a GRU usually is where f_C
    averages. Its 1×1 convolution has an eighth as many channels, at most the paper's 64.
    """
    hidden = policy.hidden
    if hidden is None and f_c.aggregation == "gru":
        hidden = f_c.hidden
    elif hidden is None:
        hidden = usual_hidden(f_c.glance_channels, f_c.local_channels)
    channels = policy.conv_channels
    if channels is None:
        channels = max(1, min(64, hidden // 8))
    return replace(policy, hidden=hidden, conv_channels=channels)


def _check_ranges(options: Mapping[str, Any]) -> None:
    for name, (expected, is_right) in _RANGES.items():
        value = options[name]
        if value is not None and not is_right(value):
            raise UsageError(f"--{name.replace('_', '-')} must be {expected}; got {value}")
