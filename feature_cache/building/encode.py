"""One video through all encoders: the arithmetic of a cache, and what it depends on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...recognizer import (
    Encoder,
    EncoderError,
    FrameConfig,
    OptionGroup,
    check_clips,
    glance_at,
    in_words,
    look_everywhere,
)
from ...recognizer.devices import to_device
from ...recognizer.pipeline.look import autocast_dtype, look_in_turn
from ...recognizer.precisions import BUILD_PRECISIONS, FEATURE_DTYPES
from ..reading.arrays import local_array
from ..reading.manifest import GLANCE, stored_groups
from ..videos import AugmentConfig, View


@dataclass(frozen=True)
class CacheConfig:
    """What a cache holds of each video.

    Attributes:
        frames: T segments of frames S×S.
        groups: The option groups, at least one; each names the encoder that it is read with.
        augment: Augmented copies of the training videos; None for none.
        dtype: Storage dtype of the features, ``float16`` or ``float32``.
        device: Where the encoders run: ``cpu``, ``cuda`` or ``cuda:N``. Features of CPU and GPU
            differ by rounding.
        precision: In which the encoders compute: ``float32``; ``tf32``, to which CUDA then rounds
            the factors of products and convolutions; or ``bfloat16``, in which torch's autocast
            computes.

    Raises:
        ValueError: If there is no group, two have one name, the places or the price of one are for
            other frames, the dtype, the device or the precision is unknown, or the precision is
            ``tf32`` on the CPU.
    """

    frames: FrameConfig
    groups: tuple[OptionGroup, ...]
    augment: AugmentConfig | None = None
    dtype: str = "float16"
    device: str = "cpu"
    precision: str = "float32"

    def __post_init__(self) -> None:
        """Check that the parts fit each other."""
        names = [group.name for group in self.groups]
        if not names or len(set(names)) < len(names):
            raise ValueError(
                "option groups must be of different names, and at least one; got "
                f"{', '.join(names) or 'none'}"
            )
        for group in self.groups:
            if group.places.frame_px != self.frames.frame_px:
                raise ValueError(
                    f"{group.name} is for frames of {group.places.frame_px} px, the frames have "
                    f"{self.frames.frame_px} px: give both the same side"
                )
            if group.segment_frames != self.frames.segment_frames:
                raise ValueError(
                    f"the price of {group.name} is that of segments of {group.segment_frames} "
                    f"frame(s), and a segment has {self.frames.segment_frames}: make the group "
                    "with as many (`option_group`)"
                )
        if self.dtype not in FEATURE_DTYPES:
            raise ValueError(f"dtype must be float16 or float32; got {self.dtype!r}")
        if re.fullmatch(r"cpu|cuda(:[0-9]+)?", self.device) is None:
            raise ValueError(f"device must be cpu, cuda or cuda:N; got {self.device!r}")
        if self.precision not in BUILD_PRECISIONS:
            raise ValueError(
                f"precision must be one of {', '.join(BUILD_PRECISIONS)}; got {self.precision!r}"
            )
        if self.precision == "tf32" and self.device == "cpu":
            raise ValueError(
                "the precision tf32 is of CUDA devices, and the device is cpu: take float32 or "
                "bfloat16, or the device cuda"
            )


def config_of(manifest: Mapping[str, Any]) -> CacheConfig:
    """Return what a cache holds of each video, from its manifest.

    One that was encoded on a GPU is taken to the CPU where there is none, from tf32 to float32.
    """
    depends_on = manifest["depends_on"]
    augment = depends_on["augment"]
    device = depends_on["device"] if torch.cuda.is_available() else "cpu"
    precision = depends_on.get("precision", "float32")
    return CacheConfig(
        FrameConfig(**depends_on["frames"]),
        tuple(stored_groups(manifest).values()),
        AugmentConfig(**augment) if augment else None,
        depends_on["dtype"],
        device,
        "float32" if precision == "tf32" and device == "cpu" else precision,
    )


class VideoEncoder:
    """All encoders of a cache, fused for inference, on their device.

    Attributes:
        config: What is stored of a video.
        encoders: The encoders by name, f_G as ``glance``.
        weights_bytes: Size of all weights, which a cache holds beside the features.
    """

    def __init__(self, encoders: Mapping[str, Encoder], config: CacheConfig) -> None:
        """Copy and fuse the encoders; the originals stay as they are.

        Raises:
            ValueError: As `check_encoders`.
        """
        check_encoders(encoders, config)
        self.config = config
        self.weights_bytes = weights_bytes(*encoders.values())
        self.encoders = {
            name: encoder.fused().to(config.device) for name, encoder in encoders.items()
        }
        # A GPU is given one video after the other, so that it holds the activations of one.
        self._turn: AbstractContextManager[object] = (
            nullcontext() if config.device == "cpu" else Lock()
        )

    @torch.inference_mode()
    def encode(self, frames: Tensor) -> dict[str, NDArray[Any]]:
        """Encode the frames of one video; the batches depend on nothing else.

        Args:
            frames: ``(T, 3, S, S)`` uint8, or ``(T, F, 3, S, S)``.

        Returns:
            ``glance_maps`` ``(T, h, w, G)``, of segments of several frames ``(T, h, w, F·G)``, see
            `glance_maps`; ``glance_vectors`` ``(T, G)``, and for every group
            ``local_vectors_NAME`` ``(T, K, L)``, in the storage dtype.
        """
        dtype: torch.dtype = getattr(torch, self.config.dtype)
        precision = self.config.precision
        computes_in = None if precision == "tf32" else autocast_dtype(precision)
        with self._turn:
            frames = to_device(frames, torch.device(self.config.device))
            maps, vectors = glance_at(
                self.encoders[GLANCE], self.config.frames.glance(frames), dtype, computes_in
            )
            features = {"glance_maps": maps, "glance_vectors": vectors}
            prepared: dict[str, Tensor] = {}  # once per frame and encoder, not once per option
            for group in self.config.groups:
                encoder = self.encoders[group.encoder]
                if group.encoder not in prepared:
                    prepared[group.encoder] = encoder.prepare(self.config.frames.look(frames))
                look = look_everywhere if encoder.profile is None else look_in_turn
                looks = look(encoder, group.places, prepared[group.encoder], dtype, computes_in)
                features[local_array(group.name)] = looks
        return {name: values.cpu().numpy() for name, values in features.items()}

    def shapes(self) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
        """Return name, shape of one video's part, and dtype of every array of the cache.

        Raises:
            EncoderError: If an encoder cannot run on frames or patches of this size.
        """
        frames = self.config.frames
        side_px = frames.frame_px
        blank = torch.zeros(1, *frames.shape[1:], 3, side_px, side_px, dtype=torch.uint8)
        view = View(np.zeros(frames.shape, dtype=np.int64), (0, 0, 0, 0), False)
        try:
            features = self.encode(blank)
        except RuntimeError as error:
            looks = ", ".join(
                f"{self.encoders[group.encoder].config.name} on {group.places.side_px} px"
                for group in self.config.groups
            )
            raise EncoderError(
                f"{self.encoders[GLANCE].config.name} on frames of {frames.frame_px} px, or "
                f"{looks}, cannot run ({in_words(error)}): choose other sizes or another encoder"
            ) from error
        per_frame = {
            name: ((frames.steps, *values.shape[1:]), values.dtype)
            for name, values in features.items()
        }
        of_view = {name: (v.shape, v.dtype) for name, v in view_arrays(view).items()}
        return {**per_frame, **of_view}


def check_encoders(encoders: Mapping[str, Encoder], config: CacheConfig) -> None:
    """Check that encoders are those that the option groups name, and f_G.

    Raises:
        ValueError: If one is missing, is of another width, is read by no group, shifts along the
            frames of a segment and reads one, or takes channels from the frame before and is f_G
            or reads several frames.
    """
    needed = {GLANCE, *(group.encoder for group in config.groups)}
    if needed != set(encoders):
        raise ValueError(
            f"expected the encoders {', '.join(sorted(needed))}: {GLANCE!r} for f_G and those that "
            f"the option groups name; got {', '.join(sorted(encoders)) or 'none'}"
        )
    check_clips("f_G", encoders[GLANCE], len(config.frames.glanced))
    for name, encoder in encoders.items():
        if encoder.profile and (name == GLANCE or config.frames.segment_frames > 1):
            raise ValueError(
                f"{encoder.config.name} takes channels from the segment before: it can be an f_L "
                f"on segments of one frame; got it as {name} on segments of "
                f"{config.frames.segment_frames}: take the network without _reuse"
            )
    for group in config.groups:
        check_clips(group.encoder, encoders[group.encoder], config.frames.segment_frames)
        if group.channels != encoders[group.encoder].channels:
            raise ValueError(
                f"the option group {group.name} has {group.channels} channels, its encoder "
                f"{group.encoder} {encoders[group.encoder].channels}: make the group with its "
                "encoder, by `option_group`"
            )


def weights_bytes(*networks: Encoder) -> int:
    """Return the size of networks' weights."""
    return sum(value.nbytes for each in networks for value in each.state_dict().values())


def view_arrays(view: View) -> dict[str, NDArray[Any]]:
    """Return what is stored of a view: frame indices, crop ``(4,)`` and flip ``()``."""
    return {
        "frame_indices": view.frame_indices.astype(np.int64),
        "crops_px": np.array(view.crop_px, dtype=np.int32),
        "flipped": np.array(view.flipped),
    }
