"""Whether a reward design works: it is tried before anything is played, and watched after."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .designs import Confidences, Reward, RewardDesign, reward_name


def check_rewards(rewards: Tensor, reward: Reward, n_envs: int) -> None:
    """Check what a design returned.

    Args:
        rewards: What the design returned.
        reward: As it was given: what messages call it.
        n_envs: B.

    Raises:
        ValueError: If it is not one finite number per episode.
    """
    name = reward_name(reward)
    if not isinstance(rewards, Tensor):
        raise ValueError(f"reward {name} must return a Tensor; got {type(rewards).__name__}")
    if rewards.shape != (n_envs,) or not math.isfinite(float(rewards.sum())):
        raise ValueError(
            f"reward {name} must return ({n_envs},) finite numbers; got shape "
            f"{tuple(rewards.shape)}: {rewards.flatten()[:5].tolist()}"
        )


def check_design(
    design: RewardDesign,
    reward: Reward,
    n_envs: int,
    n_classes: int,
    *,
    several_labels: bool = False,
    device: torch.device | str = "cpu",
) -> None:
    """Try a design on even confidences, before anything is played.

    Args:
        design: The reward design that is tried.
        reward: As it was given: what messages call it.
        n_envs: B.
        n_classes: C.
        several_labels: Whether labels are those of ``labels="mean"``.
        device: Where the environment computes.

    Raises:
        ValueError: If it fails, or does not return one finite number per episode.
    """
    name, draws = reward_name(reward), design.draws
    if draws is not None and (not isinstance(draws, int) or isinstance(draws, bool) or draws < 0):
        raise ValueError(
            f"reward {name}: draws must be a number of options, or None for all; got {draws!r}"
        )
    try:
        rewards = design(_even(design, n_envs, n_classes, several_labels, torch.device(device)))
    except Exception as error:
        raise ValueError(
            f"reward {name} fails on {n_envs} confidences of 0.5 "
            f"({type(error).__name__}: {error}): mend it, or ask for what it needs with draws and "
            "compares_skip"
        ) from error
    check_rewards(rewards, reward, n_envs)


def _even(
    design: RewardDesign, n_envs: int, n_classes: int, several_labels: bool, device: torch.device
) -> Confidences:
    """Return confidences of 0.5 at the first decision; the first class is the true one."""
    first = torch.zeros(n_envs, dtype=torch.int64, device=device)
    several = torch.zeros(n_envs, n_classes, dtype=torch.bool, device=device)
    several[:, 0] = True

    def even() -> Tensor:
        return torch.full((n_envs,), 0.5, device=device)

    draws = 1 if design.draws is None else design.draws
    return Confidences(
        chosen=even(),
        previous=even(),
        gmacs=torch.ones(n_envs, dtype=torch.float64),
        logits=torch.zeros(n_envs, n_classes, device=device),
        labels=several if several_labels else first,
        options=first.clone(),
        named=torch.ones(n_envs, dtype=torch.bool, device=device),
        step=first.clone(),
        last=torch.zeros(n_envs, dtype=torch.bool, device=device),
        random=even()[:, None].repeat(1, draws) if draws else None,
        skip=even() if design.compares_skip else None,
        best_margin=even() if getattr(design, "compares_margin", False) else None,
    )
