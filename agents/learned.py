"""The learned policy as an agent, and its bundle."""

from __future__ import annotations

import os

import numpy as np
import torch
from numpy.typing import NDArray

from ..envs import FocusEngine
from ..feature_cache import FeatureCache, read_bundle, restore
from ..recognizer import PolicyConfig, PolicyNetwork


class LearnedAgent:
    """π's most probable candidate for every frame.

    Source: AdaFocus (arXiv:2105.03245) section 3.1: at test time the maximum, no sampling.
    """

    name, runs_policy, tries_all = "adafocus", True, False

    def __init__(self, policy: PolicyNetwork) -> None:
        """Use a policy network."""
        self._policy = policy

    def options(self, engine: FocusEngine, videos: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return options ``(B, T)``."""
        return policy_options(self._policy, engine.cache, videos)


@torch.no_grad()
def policy_options(
    policy: PolicyNetwork, cache: FeatureCache, videos: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return π's most probable patches ``(B, T)`` for cached videos ``(B,)``."""
    # 64 videos at a time: memory does not grow with B.
    chunks = np.array_split(videos, -(-len(videos) // 64))
    return np.concatenate([policy(cache.glance_maps(c)).argmax(dim=-1).numpy() for c in chunks])


def read_policy(
    path: str | os.PathLike[str], cache_fingerprint: str | None = None
) -> PolicyNetwork:
    """Read π from a bundle, in eval mode.

    Args:
        path: Folder of the policy bundle.
        cache_fingerprint: Of the cache that it is to be used with, if any.

    Raises:
        BundleError: If the folder is not a readable policy bundle, or belongs to another cache.
    """
    bundle = read_bundle(path, "policy", cache_fingerprint)
    return restore(path, bundle, lambda config: PolicyNetwork(PolicyConfig(**config)))
