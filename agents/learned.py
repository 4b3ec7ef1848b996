"""The learned policy as an agent, and its bundle."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..envs import FocusEngine, Plan
from ..feature_cache import FeatureCache
from ..recognizer import (
    Policy,
    PolicyConfig,
    build_policy,
    read_bundle,
    restore,
    write_bundle,
)
from ..recognizer.files.typed import typed

# Videos at a time: memory does not grow with B.
CHUNK = 64
_PRICE, _UNITS = "penalty_", ("per_px2", "per_gmac")  # of a look, in a bundle


class LearnedAgent:
    """The learned policy: π's most probable option; skip where π′, if there is one, says so.

    Attributes:
        name: ``adafocus``, or ``adafocus_plus`` with π′.

    Source: AdaFocus (arXiv:2105.03245) sections 3.1 and 3.3: at test time the maximum and a
        threshold, no sampling.
    """

    runs_policy, tries_all = True, False

    def __init__(self, policy: Policy) -> None:
        """Use a policy network."""
        self.name = "adafocus" if policy.keep is None else "adafocus_plus"
        self._policy = policy

    def plan(self, engine: FocusEngine, videos: NDArray[np.int64]) -> Plan:
        """Return what is done in videos ``(B,)``."""
        return policy_plan(self._policy, engine.cache, videos)


@torch.no_grad()
def policy_plan(
    policy: Policy,
    cache: FeatureCache,
    videos: NDArray[np.int64],
    draws: Tensor | None = None,
) -> Plan:
    """Return what a policy does in cached videos ``(B,)``.

    It looks at π's most probable options, where π′'s keep probability reaches ρ; or both are drawn,
    with uniform numbers ``(B, T, 2)``, see `Policy.choose`. Where it does not look, the
    options are what π names.
    """
    device = next(policy.parameters()).device
    options = np.empty((len(videos), cache.steps), dtype=np.int64)
    attended = np.empty(options.shape, dtype=np.bool_)
    for start in range(0, len(videos), CHUNK):
        rows = slice(start, start + CHUNK)
        drawn = None if draws is None else draws[rows].to(device)
        chosen, looks = policy.choose(cache.stored_glance_maps(videos[rows]), drawn)
        options[rows], attended[rows] = chosen.cpu().numpy(), looks.cpu().numpy()
    return Plan(options, attended)


def read_policy(
    path: str | os.PathLike[str],
    cache_fingerprint: str | None = None,
    cache: str | os.PathLike[str] | None = None,
) -> Policy:
    """Read π, and π′ where it has one, from a bundle, in eval mode.

    Args:
        path: Folder of the policy bundle.
        cache_fingerprint: Of the cache that it is to be used with, if any.
        cache: Where that cache is, for the message.

    Raises:
        BundleError: If the folder is not a readable policy bundle, or belongs to another cache.
    """
    bundle = read_bundle(path, "policy", cache_fingerprint, cache)
    return restore(path, bundle, _policy)


def _policy(config: Mapping[str, Any]) -> Policy:
    policy = build_policy(typed(PolicyConfig, config), trusted=False)
    if policy.names_centers:
        raise ValueError(
            f"expected a network that chooses among options; got {policy.config.network!r}, which "
            "names places by itself"
        )
    return policy


def write_policy(
    path: str | os.PathLike[str],
    policy: Policy,
    cache: FeatureCache,
    metrics: Mapping[str, float] | None = None,
    penalty: Mapping[str, float] | None = None,
) -> None:
    """Write π, and π′ with ρ where it has one, as a bundle: safetensors and JSON.

    Args:
        path: The folder; its parent must exist.
        policy: The network.
        cache: What it was trained on; the bundle carries its fingerprint.
        metrics: Numbers that were measured on it, by name.
        penalty: Price of a look that π′ was trained with, as `PlusConfig.penalty`; the bundle
            carries it.
    """
    training = {_PRICE + unit: price for unit, price in (penalty or {}).items()}
    write_bundle(path, "policy", policy.config, policy, cache.fingerprint, metrics, training)


def read_penalty(path: str | os.PathLike[str]) -> dict[str, float] | None:
    """Read the price of a look that π′ of a policy bundle was trained with.

    Args:
        path: Folder of the policy bundle.

    Returns:
        As `PlusConfig.penalty`; None where the bundle does not say: without π′, imported, or
        written by an earlier version.

    Raises:
        BundleError: If the folder is not a readable policy bundle.
    """
    training = read_bundle(path, "policy").training
    prices = {unit: training[_PRICE + unit] for unit in _UNITS if _PRICE + unit in training}
    return prices or None
