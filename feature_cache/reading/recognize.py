"""Recognizing video files: decode, prepare as the recognizer's bundle says, recognize."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...recognizer import PredictionError, Recognition, VideoRecognizer, ahead
from ..videos import Clip, VideoError, View, read_frames


@dataclass(frozen=True, eq=False)
class RecognizedVideo:
    """What was recognized in a video file, and how long that took.

    Attributes:
        recognition: Predictions, places and GMACs, B = 1.
        frame_indices: ``(T,)`` int64, or ``(T, F)``, positions of its frames in the file, from 0.
        decode_s: From the file to frames S×S, in one thread, while others work beside it.
        recognize_s: Of the networks: the time of its batch, shared equally by the batch's videos.
    """

    recognition: Recognition
    frame_indices: NDArray[np.int64]
    decode_s: float
    recognize_s: float


def recognize_videos(
    recognizer: VideoRecognizer, paths: Sequence[str | os.PathLike[str]], batch_size: int = 8
) -> Iterator[RecognizedVideo | VideoError]:
    """Recognize video files, decoded on all cores ahead of the recognizer.

    Args:
        recognizer: It says which frames are read, and how they are prepared.
        paths: Video files.
        batch_size: Videos that are recognized at once.

    Yields:
        For each file, in order: what was recognized, or why it cannot be.

    Raises:
        ValueError: If it is not known how the recognizer's frames are prepared.
    """
    frames = recognizer.frames
    if frames is None:
        raise ValueError(
            "this recognizer does not know how its frames are prepared: load it from a bundle, or "
            "assemble it with `frames`"
        )

    def read(path: str | os.PathLike[str]) -> tuple[Tensor, View, float] | VideoError:
        start = perf_counter()
        try:
            pixels, view = read_frames(Clip(os.fspath(path)), frames)
        except VideoError as error:
            return error
        return pixels, view, perf_counter() - start

    _ = recognizer.cost  # counted now: no video's time holds it
    decoded, names = ahead(read, paths, os.cpu_count() or 1), iter(paths)
    while batch := list(islice(decoded, batch_size)):
        readable = [each for each in batch if not isinstance(each, VideoError)]
        start = perf_counter()
        recognized = iter(_recognized(recognizer, [pixels for pixels, _, _ in readable]))
        if recognizer.device.type == "cuda":
            torch.cuda.synchronize(recognizer.device)
        share_s = (perf_counter() - start) / max(1, len(readable))
        for each, path in zip(batch, names, strict=False):  # batch first: it ends first
            if isinstance(each, VideoError):
                yield each
                continue
            _, view, decode_s = each
            recognition = next(recognized)
            if isinstance(recognition, PredictionError):
                yield VideoError(f"{os.fspath(path)}: {recognition}")
            else:
                yield RecognizedVideo(recognition, view.frame_indices, decode_s, share_s)


def _recognized(
    recognizer: VideoRecognizer, videos: list[Tensor]
) -> list[Recognition | PredictionError]:
    """Recognize videos together, each ``(T, ...)``; singly where a prediction is not finite."""
    if not videos:
        return []
    try:
        return [*recognizer(torch.stack(videos)).videos()]
    except PredictionError as error:
        if len(videos) == 1:
            return [error]
        return [each for video in videos for each in _recognized(recognizer, [video])]
