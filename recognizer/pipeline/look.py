"""Glance and look: from frames to features, in the one way that all others use.

What is read is a segment: one frame, or several. Frames are normalised first and cut afterwards,
and features are rounded as a cache stores them, so that a policy sees in deployment what it saw in
training.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor

from ..encoders.config import FrameConfig
from ..encoders.encoder import Encoder
from ..places.places import Places
from ..precisions import PRECISIONS

# Four frames of 224 px for f_G, 16 patches of 128 px for f_L: what is fastest on a CPU, where the
# activations of a batch should stay in a core's caches, and large products are better than small.
GLANCE_PIXELS, LOCAL_PIXELS = 4 * 224**2, 16 * 128**2

_AUTOCAST = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def autocast_dtype(precision: str) -> torch.dtype | None:
    """Return in which dtype encoders compute where torch's autocast does; None for float32.

    Args:
        precision: ``float32``, ``bfloat16`` or ``float16``.

    Raises:
        ValueError: If it is another.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}; got {precision!r}")
    return _AUTOCAST.get(precision)


def glanced_and_looked(frames: Tensor, config: FrameConfig | None) -> tuple[Tensor, Tensor]:
    """Return what f_G and what f_L read of videos, the segments of all one after the other.

    Args:
        frames: ``(B, T, 3, S, S)``, or segments of several frames ``(B, T, F, 3, S, S)``.
        config: Which frames of a segment each reads; None for all.

    Returns:
        ``(B·T, ...)`` for f_G, and ``(B·T, ...)`` for f_L.
    """
    segments = frames.flatten(0, 1)
    if config is None:
        return segments, segments
    return config.glance(segments), config.look(segments)


def glance_at(
    encoder: Encoder,
    frames: Tensor,
    dtype: torch.dtype,
    computes_in: torch.dtype | None = None,
) -> tuple[Tensor, Tensor]:
    """Return glance maps and glance vectors as they are stored.

    Args:
        encoder: f_G.
        frames: ``(M, 3, S, S)`` uint8; or, of segments of several frames, those that f_G reads
            ``(M, F, 3, S, S)``, see `FrameConfig.glance`. f_G may read them at a smaller side, its
            ``input_px``.
        dtype: Storage dtype, to which both are rounded.
        computes_in: Dtype in which f_G computes where torch's autocast does; None is float32.

    Returns:
        Maps ``(M, h, w, G)``, channels last, of segments ``(M, h, w, F·G)``; and glance vectors
        ``(M, G)``. See `glance_maps`.

    Source: AdaFocus (arXiv:2105.03245) Eq. 1.
    """
    maps, vectors = [], []
    for some in batches(frames, GLANCE_PIXELS):
        with autocast(frames.device, computes_in):
            encoded, means = glance_maps(encoder, some)
        maps.append(encoded.permute(0, 2, 3, 1).to(dtype))
        vectors.append(means.to(dtype))
    return torch.cat(maps), torch.cat(vectors)


def glance_at_frames(
    encoder: Encoder, frames: Tensor, computes_in: torch.dtype | None = None
) -> tuple[Tensor, Tensor]:
    """Return glance maps and glance vectors of each frame of videos, not rounded.

    Args:
        encoder: f_G; one that shifts sees a video's frames as one clip.
        frames: ``(B, T, 3, S, S)`` uint8.
        computes_in: As of `glance_at`.

    Returns:
        ``(B, T, h, w, G)`` maps, channels last, and their spatial means ``(B, T, G)``, float32.
    """
    if encoder.shift is None:
        maps, vectors = glance_at(encoder, frames.flatten(0, 1), torch.float32, computes_in)
        return maps.unflatten(0, frames.shape[:2]), vectors.unflatten(0, frames.shape[:2])
    glances = []
    for some in batches(frames, GLANCE_PIXELS):
        with autocast(frames.device, computes_in):
            glances.append(frame_maps(encoder, some))
    of_frames, vectors = (torch.cat(parts) for parts in zip(*glances, strict=True))
    return of_frames.permute(0, 1, 3, 4, 2), vectors


def frame_maps(encoder: Encoder, frames: Tensor) -> tuple[Tensor, Tensor]:
    """Return what f_G makes of each frame of videos, in one batch; it may be trained through it.

    Args:
        encoder: f_G; one that shifts sees a video's frames as one clip.
        frames: ``(B, T, 3, S, S)`` uint8.

    Returns:
        Maps ``(B, T, G, h, w)`` float32, and their spatial means ``(B, T, G)``.
    """
    of_frames = encoder.encode_frames(encoder.prepare(frames)).float()
    return of_frames, of_frames.mean(dim=(3, 4))


def glance_maps(encoder: Encoder, frames: Tensor) -> tuple[Tensor, Tensor]:
    """Return what f_G makes of frames or segments, in one batch; it may be trained through it.

    Args:
        encoder: f_G.
        frames: As of `glance_at`.

    Returns:
        Maps ``(M, G, h, w)`` float32, of segments ``(M, F·G, h, w)``: those of the frames one after
        the other; and glance vectors ``(M, G)``: their means over positions, and over frames.

    Source: AdaFocus (arXiv:2105.03245) Eq. 1; that π sees the maps of all frames of a clip joined
        on their channels is the released code's, and that of AdaFocusV2 (arXiv:2112.14238) appendix
        B.1.
    """
    prepared = encoder.prepare(frames)
    if prepared.ndim == 4:
        maps = encoder.encode(prepared).float()
        return maps, maps.mean(dim=(2, 3))
    of_frames = encoder.encode_frames(prepared).float()  # (M, F, G, h, w)
    return of_frames.flatten(1, 2), of_frames.mean(dim=(1, 3, 4))


def look_at(
    encoder: Encoder,
    places: Places,
    frames: Tensor,
    options: Tensor,
    dtype: torch.dtype,
    computes_in: torch.dtype | None = None,
) -> Tensor:
    """Return the local vectors of one option of each segment, as they are stored.

    Args:
        encoder: f_L.
        places: Where the K options are.
        frames: ``(M, 3, S, S)`` uint8, at least one; or segments ``(M, F, 3, S, S)``, in all frames
            of which the option is read.
        options: ``(M, W)``, as the places name them: ``(M,)`` int64 in ``[0, K)``, or centres
            ``(M, 2)``.
        dtype: Storage dtype, to which they are rounded.
        computes_in: As of `glance_at`.

    Returns:
        ``(M, L)``.

    Source: AdaFocus (arXiv:2105.03245) Eq. 2.
    """
    n = _n_batches(frames.shape[:-3], places.side_px, LOCAL_PIXELS, frames.device)
    pooled = []
    for some, where in zip(frames.tensor_split(n), options.tensor_split(n), strict=True):
        with autocast(frames.device, computes_in):
            maps = local_maps(encoder, places, some, where)
        pooled.append(pool(maps, dtype))
    return torch.cat(pooled)


def look_everywhere(
    encoder: Encoder,
    places: Places,
    prepared: Tensor,
    dtype: torch.dtype,
    computes_in: torch.dtype | None = None,
) -> Tensor:
    """Return the local vectors of all options of each segment, as they are stored.

    Args:
        encoder: f_L.
        places: Where the K options are.
        prepared: ``(M, 3, S, S)``, or segments ``(M, F, 3, S, S)``, as `Encoder.prepare` normalises
            frames: once per frame, not once per option. Several segments, or parts of one, make a
            batch.
        dtype: Storage dtype, to which they are rounded.
        computes_in: As of `glance_at`.

    Returns:
        ``(M, K, L)``.
    """
    n_options, side_px = places.n_options, places.side_px
    n_images = n_options * math.prod(prepared.shape[1:-3])  # of a segment
    pixels = _pixels_at_once(LOCAL_PIXELS, prepared.device)
    at_once = max(1, round(pixels / (n_images * side_px**2)))
    with autocast(prepared.device, computes_in):
        pooled = [
            pool(encoder.encode(images), dtype)
            for some in prepared.split(at_once)
            for images in batches(crop_all(places, some), LOCAL_PIXELS)
        ]
    vectors: Tensor = torch.cat(pooled).unflatten(0, (len(prepared), n_options))
    return vectors


def look_in_turn(
    encoder: Encoder,
    places: Places,
    prepared: Tensor,
    dtype: torch.dtype,
    computes_in: torch.dtype | None = None,
) -> Tensor:
    """Return what `look_everywhere` does of an encoder that takes channels from the frame before.

    That is taken as computed in full, whatever is read of it: so features of a segment depend on
    nothing that an agent does. The first frame of a video stands in for the one before it.

    Args:
        encoder: f_L, with a mask profile.
        places: Where the K options are.
        prepared: ``(M, 3, S, S)``, the frames of a video in their order.
        dtype: Storage dtype, to which vectors are rounded.
        computes_in: As of `glance_at`.

    Returns:
        ``(M, K, L)``.
    """
    pixels = _pixels_at_once(LOCAL_PIXELS, prepared.device)
    at_once = max(1, round(pixels / (2 * places.n_options * places.side_px**2)))
    before = torch.cat([prepared[:1], prepared[:-1]])
    with autocast(prepared.device, computes_in):
        pooled = [
            pool(encoder.encode_after(crop_all(places, earlier), crop_all(places, some)), dtype)
            for earlier, some in zip(before.split(at_once), prepared.split(at_once), strict=True)
        ]
    vectors: Tensor = torch.cat(pooled).unflatten(0, (len(prepared), places.n_options))
    return vectors


def local_maps(encoder: Encoder, places: Places, frames: Tensor, options: Tensor) -> Tensor:
    """Return local maps ``(M, L, h, w)`` of one option of each segment; see `look_at`.

    In one batch, neither pooled nor rounded: f_L may be trained through it.
    """
    if places.crops_integers:  # what f_L does not see need not be normalised
        return encoder.encode(encoder.prepare(crop_each(places, frames, options)))
    return encoder.encode(crop_each(places, encoder.prepare(frames), options))


def crop_each(places: Places, prepared: Tensor, options: Tensor) -> Tensor:
    """Cut one option out of each segment, in all of its frames.

    Args:
        places: Where the options are.
        prepared: ``(M, 3, S, S)``, or segments ``(M, F, 3, S, S)``, see `Encoder.prepare`; of a
            grid of patches also uint8.
        options: ``(M, W)``, as the places name them.

    Returns:
        ``(M, 3, side, side)``, or ``(M, F, 3, side, side)``.
    """
    if prepared.ndim == 4:
        return places.crop(prepared, options)
    in_frames = options.repeat_interleave(prepared.shape[1], dim=0)
    crops = places.crop(prepared.flatten(0, 1), in_frames)
    in_segments: Tensor = crops.unflatten(0, prepared.shape[:2])
    return in_segments


def batches(images: Tensor, pixels: int) -> tuple[Tensor, ...]:
    """Divide images into batches of nearly one size, ``pixels`` each; at least one segment each.

    On CUDA they are 64 times as large.

    Args:
        images: ``(M, 3, side, side)``, or segments ``(M, F, 3, side, side)``, which stay whole.
        pixels: Of a batch, on a CPU.
    """
    n = _n_batches(images.shape[:-3], images.shape[-1], pixels, images.device)
    return images.tensor_split(n)


def pool(maps: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the spatial means ``(M, channels)`` of maps ``(M, channels, h, w)``, as stored."""
    return maps.float().mean(dim=(2, 3)).to(dtype)


def autocast(device: torch.device, dtype: torch.dtype | None) -> AbstractContextManager[object]:
    """Return the context in which encoders compute in a dtype; None is float32."""
    return torch.autocast(device.type, dtype, enabled=dtype is not None)


@contextmanager
def repeatable_on_cuda(tf32: bool = False) -> Iterator[None]:
    """Let CUDA compute repeatably inside the block, and say how it multiplies float32.

    Args:
        tf32: Whether the factors of convolutions and matrix products are rounded to TF32, which
            has the range of float32 and 10 bits of mantissa.
    """
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    try:
        with torch.backends.cudnn.flags(
            enabled=True, benchmark=False, deterministic=True, allow_tf32=tf32
        ):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


def crop_all(places: Places, prepared: Tensor) -> Tensor:
    """Return all options ``(M·K, 3, side, side)``, or ``(M·K, F, 3, side, side)`` of segments."""
    if prepared.ndim == 4:
        return places.crop_all(prepared).flatten(0, 1)
    of_frames = places.crop_all(prepared.flatten(0, 1))  # (M·F, K, 3, side, side)
    of_segments: Tensor = of_frames.unflatten(0, prepared.shape[:2])  # (M, F, K, 3, side, side)
    return of_segments.transpose(1, 2).flatten(0, 1)


def _n_batches(shape: Sequence[int], side_px: int, pixels: int, device: torch.device) -> int:
    """Return into how many batches images ``(M,)`` or segments ``(M, F)`` are divided: 1 to M."""
    at_once = _pixels_at_once(pixels, device)
    return max(1, min(shape[0], round(math.prod(shape) * side_px**2 / at_once)))


def _pixels_at_once(pixels: int, device: torch.device) -> int:
    """Return how large a batch is: a GPU has to be given much at once, and memory stays bounded."""
    return pixels if device.type == "cpu" else 64 * pixels
