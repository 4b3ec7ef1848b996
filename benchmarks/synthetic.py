"""A cache of random features at any size, and a classifier for it: for timing, not for learning."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import torch

from focusgym.feature_cache import FeatureCache, video_table
from focusgym.feature_cache.reading.manifest import group_fingerprint
from focusgym.recognizer import (
    ClassifierConfig,
    GruClassifier,
    OptionGroup,
    PatchGrid,
    write_bundle,
)

N, T, SIDE, G, L, H, C = 64, 16, 7, 1280, 2048, 1024, 200  # the paper's, on ActivityNet
GRID = PatchGrid(224, 128, 7)
GROUP = OptionGroup(GRID.name, GRID, "local", L, 1.33)


def paper_sizes(root: Path) -> dict[str, str]:
    """Write cache and classifier at the paper's sizes; returns the environment's keywords."""
    shutil.rmtree(root, ignore_errors=True)
    cache = root / "cache"
    cache.mkdir(parents=True)
    rng = np.random.default_rng(0)

    def features(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape, dtype=np.float32).clip(0).astype(np.float16)

    maps = features(N, T, SIDE, SIDE, G)
    arrays = {
        "glance_maps": maps,
        "glance_vectors": maps.astype(np.float32).mean((2, 3)).astype(np.float16),
        f"local_vectors_{GRID.name}": features(N, T, GRID.n_options, L),
        "frame_indices": np.tile(np.arange(T), (N, 1)),
        "crops_px": np.tile(np.array([0, 0, 224, 224], dtype=np.int32), (N, 1)),
        "flipped": np.zeros(N, dtype=bool),
    }
    for name, values in arrays.items():
        np.save(cache / f"{name}.npy", values)
    labels = rng.integers(C, size=N).tolist()
    videos = video_table([f"{i}.mp4" for i in range(N)], labels, ["train"] * N)
    videos.drop(columns="missing").assign(view=-1).to_csv(cache / "videos.csv", index=False)
    depends_on = {
        "classes": [str(i) for i in range(C)],
        "frames": {"steps": T, "frame_px": GRID.frame_px, "resize_px": 256},
        **{"augment": None, "dtype": "float16", "device": "cpu", "libraries": {}},
    }
    no_encoder = {"name": "random", "input_px": None, "weights_sha256": ""}
    manifest = {
        "depends_on": depends_on,
        "encoders": {"glance": no_encoder, "local": no_encoder},
        "groups": {GROUP.name: GROUP.describe()},
        "shard": None,
        "videos_root": {"from_cache": None, "absolute": ""},
        "skipped": [],
        "decoders": {},
        "glance_map_range": [0.0, float(maps.max())],
        "glance_gmacs": 0.3,
    }
    manifest["fingerprints"] = {GROUP.name: group_fingerprint(manifest, GROUP.name)}
    (cache / "manifest.json").write_text(json.dumps(manifest))
    torch.manual_seed(0)
    f_c = GruClassifier(ClassifierConfig(G, L, C, H))
    fingerprint = FeatureCache.open(cache).fingerprint
    write_bundle(root / "classifier", "classifier", f_c.config, f_c, fingerprint)
    return {"cache": str(cache), "classifier": str(root / "classifier")}
