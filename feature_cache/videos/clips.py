"""The pixels of a clip: of a video file through decord, or of a folder of numbered images."""

from __future__ import annotations

import hashlib
import math
import os
import re
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
    UnicodeError,
)
# What no real video exceeds: beyond, a damaged header makes decord ask for endless memory.
MOST_FPS, MOST_S = 10_000.0, 30 * 24 * 3600.0
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
        raise VideoError(f"{path}: no such video: check the path")
    try:
        yield
    except UnicodeEncodeError as error:  # decoders take names that are UTF-8
        raise VideoError(f"{path}: this name is not UTF-8: rename the file") from error
    except _DECODER_ERRORS as error:
        lines = str(error).strip().splitlines()
        raise VideoError(
            f"{path} cannot be decoded ({lines[0] if lines else repr(error)}): replace the file, "
            "or leave it out"
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
    declared_s, declared_frames = _read_header(path)
    # A frame that cannot be decoded is an error: by default decord repeats its neighbour.
    reader = decord.VideoReader(path, num_threads=1, fault_tol=0)
    frame_s = 1 / reader.get_avg_fps()
    there_s = float(reader.get_frame_timestamp(len(reader) - 1)[1])
    if not 0 <= there_s < MOST_S:  # H.264 in AVI has no timestamps
        there_s = len(reader) * frame_s
    missing_s = max(declared_s - there_s, (declared_frames - len(reader)) * frame_s)
    # Sound files are seen to lack up to two frames that their header counts.
    if missing_s > max(2.5 * frame_s, 0.02 * declared_s):
        raise VideoError(
            f"{path} ends early: it should last {there_s + missing_s:.2f} s, and its frames end "
            f"after {there_s:.2f} s: replace the file, or leave it out"
        )
    return reader


def _read_header(path: str) -> tuple[float, int]:
    """Return when the video should end, and its number of frames; 0 where its header is silent.

    Raises:
        VideoError: If the header is damaged in a way that would take decord down.
    """
    with av.open(path, metadata_errors="ignore") as container:
        stream = container.streams.video[0]
        rate = float(stream.average_rate or 0)
        if stream.duration is not None and stream.time_base is not None:
            end_s = float(((stream.start_time or 0) + stream.duration) * stream.time_base)
        elif len(container.streams) == 1 and container.duration is not None:
            end_s = container.duration / av.time_base  # Matroska declares no more than this
        else:
            end_s = _tagged_s(stream.metadata.get("DURATION", ""))
        if not 0 < rate < MOST_FPS or end_s > MOST_S:
            raise VideoError(
                f"{path} has a damaged header ({end_s:g} s at {rate:g} frames per second): replace "
                "the file, or leave it out"
            )
        # Only AVI counts frames that are there; MP4 also those that an edit list hides.
        return end_s, stream.frames if container.format.name == "avi" else 0


def _tagged_s(tag: str) -> float:
    """Return the seconds of a Matroska tag ``HH:MM:SS.fraction``; 0 if it is none."""
    found = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", tag)
    return 3600 * int(found[1]) + 60 * int(found[2]) + float(found[3]) if found else 0.0


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
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise VideoError(
                f"{name} cannot be read ({error}): replace the image, or leave its folder out"
            ) from error
    sizes = {image.shape for image in images.values()}
    if len(sizes) > 1:
        raise VideoError(
            f"{clip.path} holds images of different sizes ({sorted(sizes)}): extract them again "
            "with one size"
        )
    return np.stack([images[index] for index in indices])


def source_digest(clip: Clip, indices: NDArray[np.int64]) -> str:
    """Return a digest, 32 hexadecimal digits, of a video file, or of the images at ``indices``."""
    paths = [clip.path]
    if clip.images:
        names = (clip.images % (index + 1) for index in np.unique(indices))
        paths = [os.path.join(clip.path, name) for name in names]
    digest = hashlib.blake2b(digest_size=16)
    for path in paths:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def source_bytes(clip: Clip) -> int:
    """Return the size of a video file, or of all files in a folder of images."""
    if not clip.images:
        return os.stat(clip.path).st_size
    with os.scandir(clip.path) as entries:
        return sum(entry.stat().st_size for entry in entries)
