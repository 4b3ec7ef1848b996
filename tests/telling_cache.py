"""A cache in which one segment of each video tells the class, and an f_C that reads it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from support import C, G, L, T, add_frames, write_cache

from focusgym.envs import FeatureSource
from focusgym.feature_cache import FeatureCache
from focusgym.recognizer import ClassifierConfig, build_classifier, read_classifier, write_bundle


def telling_segments(cache: FeatureCache) -> NDArray[np.int64]:
    """Return the segment ``(N,)`` of each video that tells its class."""
    return np.arange(cache.n_videos) * 7 % cache.steps


def write_telling(root: Path, aggregation: str, *, reuse_glance: bool, n: int = 60) -> Path:
    """Write ``cache`` and ``classifier`` into a folder, which is returned.

    A whole frame has the class as its first C features in one segment of the video, and zeros in
    the others. There the first number of the glance vector is 1, and elsewhere -1; the others are
    noise.
    """
    cache = write_cache(root / "cache", n=n)
    add_frames(cache, (32,))
    telling, rows = telling_segments(cache), np.arange(n)
    local = np.zeros((n, T, 1, L), np.float16)
    local[rows, telling, 0, cache.labels.numpy()] = 1
    np.save(root / "cache" / "local_vectors_full32.npy", local)
    glance = np.load(root / "cache" / "glance_vectors.npy")
    glance[:, :, 0] = np.where(np.arange(T) == telling[:, None], 1, -1)
    np.save(root / "cache" / "glance_vectors.npy", glance)
    sizes = ClassifierConfig(G, L, C, C, 0.0, reuse_glance, aggregation)
    f_c = build_classifier(sizes).eval()
    first = G if reuse_glance else 0  # of the local features among the inputs
    with torch.no_grad():
        for weights in f_c.parameters():
            weights.zero_()
        if aggregation == "gru":
            # A state of zeros stays until a class is told, and then fades slowly.
            gates = f_c.gru.get_parameter("weight_ih_l0")
            gates[C : 2 * C, first : first + C] = -4  # the update gate opens
            f_c.gru.get_parameter("bias_ih_l0")[C : 2 * C] = 2
            gates[2 * C :, first : first + C] = 3 * torch.eye(C)
            f_c.head.weight[:] = 6 * torch.eye(C)
        else:
            f_c.head.weight[:, first : first + C] = 6 * torch.eye(C)
    opened = FeatureCache.open(root / "cache", "full32")
    write_bundle(root / "classifier", "classifier", sizes, f_c, opened.fingerprint)
    return root


def telling_source(root: Path) -> FeatureSource:
    """Return what was written into a folder, opened."""
    cache = FeatureCache.open(root / "cache", "full32")
    return FeatureSource(cache, read_classifier(root / "classifier", cache.fingerprint))
