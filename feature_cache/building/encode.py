"""One video through both encoders: the arithmetic of a cache, and what it depends on."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...recognizer import (
    GLANCE_PIXELS,
    LOCAL_PIXELS,
    Encoder,
    EncoderError,
    FrameConfig,
    PatchGrid,
    batches,
    in_words,
    pool,
)
from ..reading.store import local_array
from ..videos import AugmentConfig, View

DTYPES = ("float16", "float32")


@dataclass(frozen=True)
class CacheConfig:
    """What a cache holds of each video, besides the encoders.

    Attributes:
        frames: T frames of S×S.
        grids: The option groups: patches of one size each; at least one.
        augment: Augmented copies of the training videos; None for none.
        dtype: Storage dtype of the features, ``float16`` or ``float32``.
        device: Where the encoders run: ``cpu``, ``cuda`` or ``cuda:N``. Features of CPU and GPU
            differ by rounding.

    Raises:
        ValueError: If there is no grid, one is given twice, a grid is for other frames, or the
            dtype or the device is unknown.
    """

    frames: FrameConfig
    grids: tuple[PatchGrid, ...]
    augment: AugmentConfig | None = None
    dtype: str = "float16"
    device: str = "cpu"

    def __post_init__(self) -> None:
        """Check that the parts fit each other."""
        if not self.grids or len(set(self.grids)) < len(self.grids):
            names = ", ".join(grid.name for grid in self.grids) or "none"
            raise ValueError(f"patch grids must be different, and at least one; got {names}")
        for grid in self.grids:
            if grid.frame_px != self.frames.frame_px:
                raise ValueError(
                    f"the grid is for frames of {grid.frame_px} px, the frames have "
                    f"{self.frames.frame_px} px: give both the same side"
                )
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype must be float16 or float32; got {self.dtype!r}")
        if re.fullmatch(r"cpu|cuda(:[0-9]+)?", self.device) is None:
            raise ValueError(f"device must be cpu, cuda or cuda:N; got {self.device!r}")


def config_of(manifest: Mapping[str, Any]) -> CacheConfig:
    """Return what a cache holds of each video, from its manifest.

    One that was encoded on a GPU is taken to the CPU where there is none.
    """
    depends_on = manifest["depends_on"]
    augment = depends_on["augment"]
    return CacheConfig(
        FrameConfig(**depends_on["frames"]),
        tuple(PatchGrid(**grid) for grid in manifest["grids"].values()),
        AugmentConfig(**augment) if augment else None,
        depends_on["dtype"],
        depends_on["device"] if torch.cuda.is_available() else "cpu",
    )


class VideoEncoder:
    """Both encoders, fused for inference, on their device.

    Attributes:
        config: What is stored of a video.
        glance: f_G.
        local: f_L.
        weights_bytes: Size of both networks' weights, which a cache holds beside the features.
    """

    def __init__(self, glance: Encoder, local: Encoder, config: CacheConfig) -> None:
        """Copy and fuse the encoders; the originals stay as they are."""
        self.config = config
        self.weights_bytes = weights_bytes(glance, local)
        self.glance = glance.fused().to(config.device)
        self.local = local.fused().to(config.device)

    @torch.inference_mode()
    def encode(self, frames: Tensor) -> dict[str, NDArray[Any]]:
        """Encode the frames of one video; the batches depend on nothing else.

        Args:
            frames: ``(T, 3, S, S)`` uint8.

        Returns:
            ``glance_maps`` ``(T, h, w, G)``, ``glance_vectors`` ``(T, G)``, and for every grid
            ``local_vectors_GRID`` ``(T, K, L)``, in the storage dtype.
        """
        dtype: torch.dtype = getattr(torch, self.config.dtype)
        frames = frames.to(self.config.device)
        maps, vectors = [], []
        for images in batches(self.glance.prepare(frames), GLANCE_PIXELS):
            encoded = self.glance.encode(images)
            maps.append(encoded.permute(0, 2, 3, 1).to(dtype))
            vectors.append(pool(encoded, dtype))
        features = {"glance_maps": torch.cat(maps), "glance_vectors": torch.cat(vectors)}
        prepared = self.local.prepare(frames)  # once per frame, not once per patch
        for grid in self.config.grids:
            features[local_array(grid)] = self._local(prepared, grid, dtype)
        return {name: values.cpu().numpy() for name, values in features.items()}

    def shapes(self) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
        """Return name, shape of one video's part, and dtype of every array of the cache.

        Raises:
            EncoderError: If an encoder cannot run on frames or patches of this size.
        """
        frames = self.config.frames
        blank = torch.zeros(1, 3, frames.frame_px, frames.frame_px, dtype=torch.uint8)
        view = View(np.zeros(frames.steps, dtype=np.int64), (0, 0, 0, 0), False)
        try:
            features = self.encode(blank)
        except RuntimeError as error:
            sides = ", ".join(str(grid.patch_px) for grid in self.config.grids)
            raise EncoderError(
                f"{self.glance.config.name} on frames of {frames.frame_px} px, or "
                f"{self.local.config.name} on patches of {sides} px, cannot run "
                f"({in_words(error)}): choose other sizes or another encoder"
            ) from error
        per_frame = {
            name: ((frames.steps, *values.shape[1:]), values.dtype)
            for name, values in features.items()
        }
        of_view = {name: (v.shape, v.dtype) for name, v in view_arrays(view).items()}
        return {**per_frame, **of_view}

    def _local(self, prepared: Tensor, grid: PatchGrid, dtype: torch.dtype) -> Tensor:
        """Return ``(T, K, L)``; several frames, or parts of one, make the batches."""
        at_once = max(1, round(LOCAL_PIXELS / (grid.n_options * grid.patch_px**2)))
        pooled = [
            pool(self.local.encode(patches), dtype)
            for some in prepared.split(at_once)
            for patches in batches(grid.crop_all(some).flatten(0, 1), LOCAL_PIXELS)
        ]
        return torch.cat(pooled).view(len(prepared), grid.n_options, -1)


def weights_bytes(*networks: Encoder) -> int:
    """Return the size of networks' weights."""
    return sum(value.nbytes for each in networks for value in each.state_dict().values())


def view_arrays(view: View) -> dict[str, NDArray[Any]]:
    """Return what is stored of a view: frame indices ``(T,)``, crop ``(4,)`` and flip ``()``."""
    return {
        "frame_indices": view.frame_indices.astype(np.int64),
        "crops_px": np.array(view.crop_px, dtype=np.int32),
        "flipped": np.array(view.flipped),
    }


def checksum(features: Mapping[str, NDArray[Any]]) -> str:
    """Return a digest, 32 hexadecimal digits, of all arrays of one row, by name."""
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(features):
        digest.update(np.ascontiguousarray(features[name]).tobytes())
    return digest.hexdigest()
