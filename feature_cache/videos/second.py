"""A second decoder, decord, to check what PyAV reads: it has another FFmpeg in it."""

from __future__ import annotations

import os
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from .clips import Clip
from .decoders import contained, read_index


def read_through_decord(clip: Clip, indices: NDArray[np.int64]) -> NDArray[np.uint8] | None:
    """Read frames of a video file with decord.

    decord seeks to the marks of key frames, takes packets for frames, scales frames that are of
    another size than the first, and rounds otherwise where frames are interlaced, have more than 8
    bits, or an odd height: so it is asked for simple files only.

    Args:
        clip: The video.
        indices: ``(T,)`` int64: frame i is the i-th that a player shows.

    Returns:
        ``(T, height, width, 3)`` uint8; None where decord is not installed, cannot read the file,
        or would not be right.

    Raises:
        VideoError: If the file cannot be read at all.
    """
    if clip.n_images or find_spec("decord") is None:
        return None
    index = read_index(clip.path)
    if not index.is_simple or indices.max() >= index.n_frames:
        return None
    return contained(clip.path, decord_pictures, clip.path, indices, index.n_frames)


def decord_pictures(
    path: str, indices: NDArray[np.int64], n_frames: int
) -> NDArray[np.uint8] | None:
    """Read as `read_through_decord` does, in this process, a file of so many frames."""
    import decord

    # What a codec has to say about a damaged frame is printed by the C library, and raised as well.
    decord.logging.set_level(decord.logging.QUIET)
    try:
        # A frame that cannot be decoded is an error: by default decord repeats its neighbour. An
        # absolute path is never taken for an address, as "10:30.mp4" would be.
        reader = decord.VideoReader(os.path.abspath(path), num_threads=1, fault_tol=0)
        if len(reader) != n_frames:
            return None
        pictures: NDArray[np.uint8] = reader.get_batch(indices).asnumpy()
    except (decord.DECORDError, decord.DECORDLimitReachedError, UnicodeEncodeError):
        return None
    return pictures if pictures.shape[1] % 2 == 0 else None
