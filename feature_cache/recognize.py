"""Recognizing video files: decode, prepare as the recognizer's bundle says, recognize."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..recognizer import AdaptiveRecognizer, Recognition, ahead
from .videos import Clip, VideoError, read_frames


def recognize_videos(
    recognizer: AdaptiveRecognizer, paths: Sequence[str | os.PathLike[str]], batch_size: int = 8
) -> Iterator[tuple[Recognition, NDArray[np.int64]] | VideoError]:
    """Recognize video files, decoded on all cores ahead of the recognizer.

    Args:
        recognizer: It says which frames are read, and how they are prepared.
        paths: Video files.
        batch_size: Videos that are recognized at once.

    Yields:
        For each file, in order: what was recognized (B = 1) and the indices ``(T,)`` of its frames
        in the file; or why it cannot be read.

    Raises:
        ValueError: If it is not known how the recognizer's frames are prepared.
    """
    frames = recognizer.frames
    if frames is None:
        raise ValueError(
            "this recognizer does not know how its frames are prepared: load it from a bundle, or "
            "assemble it with `frames`"
        )

    def read(path: str | os.PathLike[str]) -> tuple[Tensor, NDArray[np.int64]] | VideoError:
        try:
            pixels, view = read_frames(Clip(os.fspath(path)), frames)
        except VideoError as error:
            return error
        return pixels, view.frame_indices

    decoded = ahead(read, paths, os.cpu_count() or 1)
    while batch := list(islice(decoded, batch_size)):
        readable = [each for each in batch if not isinstance(each, VideoError)]
        recognized: Iterator[Recognition] = iter(())
        if readable:
            whole = recognizer(torch.stack([pixels for pixels, _ in readable]))
            recognized = iter(whole.videos())
        for each in batch:
            yield each if isinstance(each, VideoError) else (next(recognized), each[1])
