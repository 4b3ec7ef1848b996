"""The cache on disk: memory-mapped arrays, a table of videos, a manifest; and its reader."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..recognizer import FocusgymError, PatchGrid

ARRAYS = ("glance_maps", "glance_vectors", "local_vectors", "frame_indices")


class CacheError(FocusgymError):
    """A cache cannot be used as asked; the message says why and what to do."""


def fingerprint(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a JSON-able mapping, keys sorted, as 64 hexadecimal digits."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


class FeatureCache:
    """A feature cache, opened for reading.

    Arrays stay on disk, memory-mapped read-only; every method copies only what it returns.

    Attributes:
        root: The cache's folder.
        manifest: Everything that the features depend on, the classes, and the costs of encoding.
        fingerprint: The manifest's fingerprint; what is trained on the cache carries it.
        videos: Table of videos, one row each, in the arrays' order: ``path``, ``label``, ``split``.
        grid: The patch candidates; option k of a decision is candidate k.
        labels: ``(N,)`` int64.
    """

    def __init__(self, root: Path, manifest: dict[str, Any], videos: pd.DataFrame) -> None:
        """Use `FeatureCache.open`."""
        self.root = root
        self.manifest = manifest
        self.fingerprint: str = manifest["fingerprint"]
        self.videos = videos
        self.grid = PatchGrid(**manifest["depends_on"]["grid"])
        self.labels = torch.tensor(videos["label"].to_numpy(), dtype=torch.int64)
        self._arrays: dict[str, NDArray[Any]] = {
            name: np.load(root / f"{name}.npy", mmap_mode="r", allow_pickle=False)
            for name in ARRAYS
        }

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> FeatureCache:
        """Open a cache.

        Args:
            path: The folder that `build_cache` wrote.

        Raises:
            CacheError: If there is no complete cache, or its manifest was changed.
        """
        root = Path(path)
        try:
            manifest = json.loads((root / "manifest.json").read_text())
            said, actual = manifest["fingerprint"], fingerprint(manifest["depends_on"])
            cache = cls(root, manifest, pd.read_csv(root / "videos.csv"))
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise CacheError(
                f"{root} is not a complete feature cache ({error}): build it, or give another path"
            ) from error
        if actual != said:
            raise CacheError(
                f"{root}: the manifest says fingerprint {said}, its content gives {actual}: the "
                "manifest was edited; rebuild the cache"
            )
        return cache

    @property
    def n_videos(self) -> int:
        """N."""
        return len(self.videos)

    @property
    def steps(self) -> int:
        """T, the frames per video."""
        return int(self._arrays["glance_maps"].shape[1])

    @property
    def map_shape(self) -> tuple[int, int, int]:
        """(h, w, G)."""
        height, width, channels = self._arrays["glance_maps"].shape[2:]
        return height, width, channels

    @property
    def local_channels(self) -> int:
        """L."""
        return int(self._arrays["local_vectors"].shape[-1])

    @property
    def n_options(self) -> int:
        """K."""
        return int(self._arrays["local_vectors"].shape[2])

    @property
    def dtype(self) -> torch.dtype:
        """Storage dtype of the features."""
        return torch.from_numpy(np.empty(0, self._arrays["local_vectors"].dtype)).dtype

    @property
    def n_classes(self) -> int:
        """C."""
        return len(self.manifest["classes"])

    def split(self, name: str) -> NDArray[np.int64]:
        """Return the rows of a split.

        Raises:
            CacheError: If the cache has no video of it.
        """
        rows = np.flatnonzero(self.videos["split"].to_numpy() == name)
        if not len(rows):
            there = ", ".join(sorted(self.videos["split"].unique()))
            raise CacheError(f"split {name!r} has no videos in {self.root}; there are: {there}")
        return rows

    def glance_maps(self, videos: NDArray[np.int64]) -> Tensor:
        """Return glance maps ``(B, T, h, w, G)`` float32 of videos ``(B,)``."""
        return self._gather("glance_maps", videos)

    def glance_map(self, videos: NDArray[np.int64], step: int) -> Tensor:
        """Return glance maps ``(B, h, w, G)`` float32 of one step."""
        return self._gather("glance_maps", (videos, step))

    def glance_vectors(self, videos: NDArray[np.int64]) -> Tensor:
        """Return glance vectors ``(B, T, G)`` float32 of videos ``(B,)``."""
        return self._gather("glance_vectors", videos)

    def local_vectors(
        self,
        videos: NDArray[np.int64],
        steps: NDArray[np.int64] | int,
        options: NDArray[np.int64] | slice,
    ) -> Tensor:
        """Return local vectors float32; the three indices broadcast as NumPy's do.

        ``local_vectors(videos[:, None], np.arange(T), options)`` with options ``(B, T)`` gives
        ``(B, T, L)``; ``local_vectors(videos, t, slice(None))`` gives ``(B, K, L)``.
        """
        return self._gather("local_vectors", (videos, steps, options))

    def frame_indices(self, videos: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the indices ``(B, T)`` of the frames in their video files."""
        indices: NDArray[np.int64] = self._arrays["frame_indices"][videos]
        return indices

    def sequences(
        self, videos: NDArray[np.int64], options: NDArray[np.int64]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return what f_C sees of whole videos when given patches are looked at.

        Args:
            videos: ``(B,)`` rows.
            options: ``(B, T)`` patches.

        Returns:
            Glance vectors ``(B, T, G)``, local vectors ``(B, T, L)``, labels ``(B,)``.
        """
        local = self.local_vectors(videos[:, None], np.arange(self.steps), options)
        return self.glance_vectors(videos), local, self.labels[videos]

    def _gather(self, name: str, index: Any) -> Tensor:
        # Indexing with arrays copies; the copy is ours, so torch may own it.
        return torch.from_numpy(self._arrays[name][index]).float()
