"""What several test modules use: sizes and a writer of synthetic caches."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from focusgym.feature_cache import FeatureCache, fingerprint

N, T, SIDE, G, L, C, GRID = 10, 4, 3, 5, 6, 3, 3


def write_cache(root: Path, *, n: int = N, steps: int = T, seed: int = 0) -> FeatureCache:
    """Write a cache of random features: 60 % train, 20 % val, 20 % test."""
    rng = np.random.default_rng(seed)
    maps = rng.normal(size=(n, steps, SIDE, SIDE, G)).astype(np.float16)
    arrays = {
        "glance_maps": maps,
        "glance_vectors": maps.astype(np.float32).mean((2, 3)).astype(np.float16),
        "local_vectors": rng.normal(size=(n, steps, GRID**2, L)).astype(np.float16),
        "frame_indices": np.tile(np.arange(steps), (n, 1)),
    }
    root.mkdir(parents=True)
    for name, values in arrays.items():
        np.save(root / f"{name}.npy", values)
    split = np.repeat(["train", "val", "test"], [n - 2 * (n // 5), n // 5, n // 5])
    labels = rng.integers(C, size=n)
    names = [f"{i}.mp4" for i in range(n)]
    videos = pd.DataFrame({"path": names, "label": labels, "split": split})
    videos.to_csv(root / "videos.csv", index=False)
    depends_on = {
        "grid": {"frame_px": 32, "patch_px": 12, "n": GRID},
        "frames": {"steps": steps, "frame_px": 32, "resize_px": None},
        "seed": seed,
    }
    manifest = {
        "fingerprint": fingerprint(depends_on),
        "depends_on": depends_on,
        "classes": [str(i) for i in range(C)],
        "glance_map_range": [float(maps.min()), float(maps.max())],
    }
    (root / "manifest.json").write_text(json.dumps(manifest))
    return FeatureCache.open(root)
