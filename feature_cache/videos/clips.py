"""The pixels of a clip: of a video file through decord, or of a folder of numbered images."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import av
import decord
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...recognizer import FocusgymError

# What a codec has to say about a damaged frame is printed by the C library, and raised as well.
decord.logging.set_level(decord.logging.QUIET)

_DECODER_ERRORS = (
    decord.DECORDError,
    decord.DECORDLimitReachedError,
    av.FFmpegError,
    RuntimeError,
    AssertionError,
    IndexError,
)
Choice = Callable[[int, int], NDArray[np.int64]]


class VideoError(FocusgymError):
    """A video cannot be read; the message names the file."""


@dataclass(frozen=True)
class Clip:
    """A video to read.

    Attributes:
        path: A video file, or a folder of numbered images.
        key: Identity of the video in keyed draws.
        start_s: Where it begins in the file, seconds; None is the file's begin.
        end_s: Where it ends, seconds; None is the file's end.
        images: Template of the images' names, such as ``image_%05d.jpg``, counted from 1; empty
            for a video file.
        n_images: How many images there are.
    """

    path: str
    key: str = ""
    start_s: float | None = None
    end_s: float | None = None
    images: str = ""
    n_images: int = 0


def count_frames(clip: Clip) -> int:
    """Return how many frames a video has, without decoding them; raises as `read_pixels`."""
    if clip.images:
        return clip.n_images
    with _named(clip.path):
        return _span(clip, _open(clip.path))[1]


@contextmanager
def _named(path: str) -> Iterator[None]:
    """Turn whatever a decoder raises into a `VideoError` that names the file."""
    if not os.path.exists(path):
        raise VideoError(f"{path}: no such video: check the path in the list")
    try:
        yield
    except _DECODER_ERRORS as error:
        lines = str(error).strip().splitlines()
        raise VideoError(
            f"{path} cannot be decoded ({lines[0] if lines else repr(error)}): replace the file, "
            "or take it off the list"
        ) from error


def read_pixels(clip: Clip, choose: Choice) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Read chosen frames of a clip.

    Args:
        clip: The clip.
        choose: Given the clip's first frame in the file and how many frames it has, returns the
            indices ``(T,)`` of the frames to read.

    Returns:
        ``(T, height, width, 3)`` uint8 and their indices ``(T,)`` in the file.

    Raises:
        VideoError: If the file is missing, empty, damaged or no video, ends before it should, or
            does not reach to where the clip begins and ends.
    """
    with _named(clip.path):
        if clip.images:
            indices = choose(0, clip.n_images)
            return _read_images(clip, indices), indices
        reader = _open(clip.path)
        indices = choose(*_span(clip, reader))
        if indices.max() >= len(reader):
            raise VideoError(
                f"{clip.path}: frame {indices.max()} was asked for, but there are {len(reader)}: "
                "the file has changed; put the former one back, or build the cache anew"
            )
        pixels: NDArray[np.uint8] = reader.get_batch(indices).asnumpy()
        return pixels, indices


def _open(path: str) -> decord.VideoReader:
    # A frame that cannot be decoded is an error: by default decord repeats its neighbour.
    reader = decord.VideoReader(path, num_threads=1, fault_tol=0)
    there_s, declared_s = float(reader.get_frame_timestamp(len(reader) - 1)[1]), _declared_s(path)
    missing_s = declared_s - there_s
    # Sound files are seen to lack up to two frames that their header counts.
    if missing_s > max(2.5 / reader.get_avg_fps(), 0.02 * declared_s):
        raise VideoError(
            f"{path} ends early: it should last {declared_s:.2f} s, and its frames end after "
            f"{there_s:.2f} s: replace the file, or take it off the list"
        )
    return reader


def _declared_s(path: str) -> float:
    """Return when the video should end by its header; 0 where that does not say."""
    with av.open(path) as container:
        stream = container.streams.video[0]
        if stream.duration is None or stream.time_base is None:
            return 0.0
        return float(((stream.start_time or 0) + stream.duration) * stream.time_base)


def _span(clip: Clip, reader: decord.VideoReader) -> tuple[int, int]:
    """Return the first frame of a clip in its file, and how many frames it has."""
    n, fps = len(reader), reader.get_avg_fps()
    first = 0 if clip.start_s is None else math.floor(clip.start_s * fps)
    last = n if clip.end_s is None else math.ceil(clip.end_s * fps)
    # A second is forgiven at the end: lists round up, and trimming cuts at key frames.
    if first >= n or last > n + fps:
        asked = f"{clip.start_s or 0:g} s to {'its end' if clip.end_s is None else clip.end_s}"
        raise VideoError(
            f"{clip.path}: the list asks for {asked}, but the file lasts {n / fps:.2f} s: correct "
            "start_s and end_s"
        )
    return first, min(last, n) - first


def _read_images(clip: Clip, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
    images = {}
    for index in np.unique(indices):
        name = os.path.join(clip.path, clip.images % (index + 1))
        try:
            with Image.open(name) as image:
                images[index] = np.asarray(image.convert("RGB"))
        except OSError as error:
            raise VideoError(
                f"{name} cannot be read ({error}): replace the image, or take its folder off the "
                "list"
            ) from error
    sizes = {image.shape for image in images.values()}
    if len(sizes) > 1:
        raise VideoError(
            f"{clip.path} holds images of different sizes ({sorted(sizes)}): extract them again "
            "with one size"
        )
    return np.stack([images[index] for index in indices])
