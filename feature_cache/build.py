"""Building a cache: every video once through both encoders, with all its patch candidates."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from ..recognizer import Encoder, PatchGrid, encode_glance, encode_local, encoder_gmacs
from .decode import FrameConfig, read_many
from .store import FeatureCache, fingerprint

PIXELS_PER_BATCH = 1 << 20
LIBRARIES = ("torch", "torchvision", "decord", "numpy")


def build_cache(
    videos: pd.DataFrame,
    classes: list[str],
    root: str | os.PathLike[str],
    glance_encoder: Encoder,
    local_encoder: Encoder,
    grid: PatchGrid,
    frames: FrameConfig,
    dtype: str = "float16",
) -> FeatureCache:
    """Encode videos and write the cache; the folder appears only when it is complete.

    Args:
        videos: Table with ``path``, ``label`` and ``split``.
        classes: Names of the C classes.
        root: A folder that does not exist yet.
        glance_encoder: f_G, frozen from here on.
        local_encoder: f_L, frozen from here on.
        grid: The patch candidates.
        frames: Which frames are taken of each video.
        dtype: ``float16`` or ``float32``.

    Returns:
        The cache, opened.

    Raises:
        FileExistsError: If ``root`` exists.
        ValueError: If the grid and the frames differ in size, the dtype is unknown, or an encoder
            gives features that are not finite.
        VideoError: If a video cannot be read.
    """
    root = Path(root)
    if root.exists():
        raise FileExistsError(f"{root} exists: remove it, or build the cache elsewhere")
    if grid.frame_px != frames.frame_px:
        raise ValueError(
            f"the grid is for frames of {grid.frame_px} px, the frames have {frames.frame_px} px: "
            "give both the same side"
        )
    if dtype not in ("float16", "float32"):
        raise ValueError(f"dtype must be float16 or float32; got {dtype!r}")
    partial = root.with_name(root.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)

    glance_encoder.eval()
    local_encoder.eval()
    torch_dtype = getattr(torch, dtype)
    arrays: dict[str, NDArray[Any]] = {}
    low, high = np.inf, -np.inf
    paths = videos["path"].tolist()
    decoded = read_many(paths, frames)
    progress = tqdm(decoded, "feature cache", len(paths), unit="video")
    for row, (pixels, indices) in enumerate(progress):
        features = encode_video(pixels, glance_encoder, local_encoder, grid, torch_dtype)
        features["frame_indices"] = indices
        if not all(np.isfinite(values).all() for values in features.values()):
            raise ValueError(
                f"{paths[row]}: features are not finite in {dtype}: check the encoders' weights, "
                "or store float32"
            )
        if not arrays:
            arrays = {
                name: open_memmap(
                    partial / f"{name}.npy", "w+", values.dtype, (len(paths), *values.shape)
                )
                for name, values in features.items()
            }
        for name, values in features.items():
            arrays[name][row] = values
        low = min(low, float(features["glance_maps"].min()))
        high = max(high, float(features["glance_maps"].max()))
    for array in arrays.values():
        array.flush()  # type: ignore[attr-defined]

    depends_on = {
        "videos": table_digest(videos),
        "frames": asdict(frames),
        "grid": asdict(grid),
        "dtype": dtype,
        "glance_encoder": describe(glance_encoder),
        "local_encoder": describe(local_encoder),
        "libraries": {name: version(name) for name in LIBRARIES},
    }
    manifest = {
        "fingerprint": fingerprint(depends_on),
        "depends_on": depends_on,
        "classes": classes,
        "glance_map_range": [low, high],
        "glance_gmacs": encoder_gmacs(glance_encoder, grid.frame_px),
        "local_gmacs": encoder_gmacs(local_encoder, grid.patch_px),
    }
    videos.to_csv(partial / "videos.csv", index=False)
    (partial / "manifest.json").write_text(json.dumps(manifest, indent=2))
    partial.rename(root)
    return FeatureCache.open(root)


@torch.no_grad()
def encode_video(
    frames: Tensor,
    glance_encoder: Encoder,
    local_encoder: Encoder,
    grid: PatchGrid,
    dtype: torch.dtype,
) -> dict[str, NDArray[Any]]:
    """Encode one video; its batches depend on the video alone.

    Args:
        frames: ``(T, 3, S, S)`` uint8.
        glance_encoder: f_G.
        local_encoder: f_L.
        grid: The patch candidates.
        dtype: Storage dtype.

    Returns:
        ``glance_maps`` ``(T, h, w, G)``, ``glance_vectors`` ``(T, G)`` and ``local_vectors``
        ``(T, K, L)``.
    """
    maps, vectors = encode_glance(glance_encoder, frames, dtype)
    # Small patches: a whole video at once; large ones: a frame at a time, which stays in cache.
    at_once = max(1, PIXELS_PER_BATCH // (grid.n_options * grid.patch_px**2))
    local = [
        encode_local(local_encoder, grid.crop_all(chunk).flatten(0, 1), dtype)
        for chunk in frames.split(at_once)
    ]
    return {
        "glance_maps": maps.numpy(),
        "glance_vectors": vectors.numpy(),
        "local_vectors": torch.cat(local).unflatten(0, (len(frames), -1)).numpy(),
    }


def describe(encoder: Encoder) -> dict[str, Any]:
    """Return an encoder's config and the SHA-256 of its weights and statistics."""
    digest = hashlib.sha256()
    for name, value in sorted(encoder.state_dict().items()):
        if not name.endswith("num_batches_tracked"):
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return {**asdict(encoder.config), "weights_sha256": digest.hexdigest()}


def table_digest(videos: pd.DataFrame) -> str:
    """Return the SHA-256 of a list of videos: names, labels, splits and file sizes, not folders."""
    digest = hashlib.sha256()
    for path, label, split in videos[["path", "label", "split"]].itertuples(index=False):
        file = Path(path)
        digest.update(f"{file.name}\t{file.stat().st_size}\t{label}\t{split}\n".encode())
    return digest.hexdigest()
