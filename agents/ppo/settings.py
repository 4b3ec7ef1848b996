"""Which settings of FocusPPO go together."""

from __future__ import annotations

import math
from typing import Protocol


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
