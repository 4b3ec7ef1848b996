"""The pixels of a clip: of a video file, a folder of numbered images, or one image."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ...recognizer.files.regular import open_regular
from .container import VideoError
from .decoders import count_in_order, read_every, read_images, read_index, read_pictures
from .index import IN_ORDER, SEEK
from .pictures import OutOfStepError

IMAGES = "pillow"  # what reads images
Choice = Callable[[int, int], NDArray[np.int64]]


@dataclass(frozen=True)
class Clip:
    """A video to read.

    Attributes:
        path: A video file, an image file, or a folder of numbered images.
        key: Identity of the video in keyed draws.
        start_s: Where it begins, seconds after the first frame is shown; None is the first frame.
        end_s: Where it ends, likewise; None is the file's end.
        images: Template of the images' names, such as ``image_%05d.jpg``, counted from 1; empty
            for a file.
        n_images: How many images there are; 0 for a video file.
    """

    path: str
    key: str = ""
    start_s: float | None = None
    end_s: float | None = None
    images: str = ""
    n_images: int = 0


@dataclass(frozen=True, eq=False)
class Pixels:
    """Chosen frames of a clip.

    Attributes:
        pictures: ``(T, height, width, 3)`` uint8, upright.
        indices: ``(T,)`` int64, their places in the file: frame i is the i-th that a player shows.
        decoder: What read them: ``pyav``, ``pyav in order``, or ``pillow`` (images).
    """

    pictures: NDArray[np.uint8]
    indices: NDArray[np.int64]
    decoder: str


def count_frames(clip: Clip) -> int:
    """Return how many frames a player shows of a video; raises as `read_pixels`."""
    if clip.n_images:
        return clip.n_images
    index = read_index(clip.path)
    if not len(index.pts):  # the packets do not tell
        index = count_in_order(index)
    return index.span(clip.start_s, clip.end_s)[1]


def read_pixels(clip: Clip, choose: Choice) -> Pixels:
    """Read chosen frames of a clip.

    Args:
        clip: The clip.
        choose: Given the clip's first frame in the file and how many frames it has, returns the
            indices ``(T,)`` of the frames to read. It is asked again where decoding shows another
            number of frames than the file's packets.

    Raises:
        VideoError: If the file is missing, empty, damaged or no video, ends before it should, or
            does not reach to where the clip begins and ends.
    """
    if clip.n_images:
        indices = choose(0, clip.n_images)
        return Pixels(read_images(clip.path, clip.images, indices), indices, IMAGES)
    index = read_index(clip.path)
    indices = choose(*index.span(clip.start_s, clip.end_s))
    if index.decoder == SEEK:
        _check_reach(clip.path, indices, index.n_frames)
        try:
            return Pixels(read_pictures(index, indices)[0], indices, SEEK)
        except OutOfStepError:
            index = replace(index, decoder=IN_ORDER)
    pictures, index = read_pictures(index, indices)
    guess, indices = indices, choose(*index.span(clip.start_s, clip.end_s))
    _check_reach(clip.path, indices, index.n_frames)
    if not np.array_equal(guess, indices):
        pictures, index = read_pictures(index, indices)
    return Pixels(pictures, indices, IN_ORDER)


def read_plainly(clip: Clip, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Read frames ``(T, height, width, 3)`` by decoding from the first one, without an index.

    Slower than `read_pixels`, and simpler: what reads otherwise is checked against it. Raises as
    `read_pixels`.
    """
    if clip.n_images:
        return read_images(clip.path, clip.images, indices)
    pictures, n_frames = read_every(clip.path, indices)
    _check_reach(clip.path, indices, n_frames)
    return pictures


def _check_reach(path: str, indices: NDArray[np.int64], n_frames: int) -> None:
    if indices.max() >= n_frames:
        raise VideoError(
            f"{path}: frame {indices.max()} was asked for, but there are {n_frames}: the file has "
            "changed; put the former one back, or build the cache anew"
        )


def source_digest(clip: Clip, indices: NDArray[np.int64]) -> str:
    """Return a digest, 32 hexadecimal digits, of a video file, or of the images at ``indices``."""
    paths = [clip.path]
    if clip.images:
        names = (clip.images % (index + 1) for index in np.unique(indices))
        paths = [os.path.join(clip.path, name) for name in names]
    digest = hashlib.blake2b(digest_size=16)
    for path in paths:
        with open_regular(path) as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def source_bytes(clip: Clip) -> int:
    """Return the size of a video file, or of all files in a folder of images."""
    if not clip.images:
        return os.stat(clip.path).st_size
    with os.scandir(clip.path) as entries:
        return sum(entry.stat().st_size for entry in entries)
