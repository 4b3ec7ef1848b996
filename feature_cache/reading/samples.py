"""Samples of the supervised stages: videos decoded ahead, and rows of a cache."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from threading import Lock

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...recognizer import FrameConfig, TensorSamples, ahead, uniform_draws
from ..videos import AugmentConfig, read_frames
from .rows import clips_of, label_matrix
from .store import FeatureCache

# Most memory for decoded videos that are the same in every epoch.
KEPT_BYTES = 2**30


class VideoSamples:
    """Videos as samples of the stages on pixels: decoded on all cores, ahead of the consumer.

    Videos that are not augmented are decoded once, as many as fit into `KEPT_BYTES`.

    Attributes:
        n: How many videos.
        labels: True classes of the videos; see `targets`.
    """

    def __init__(
        self,
        videos: pd.DataFrame,
        n_classes: int,
        frames: FrameConfig,
        *,
        augment: AugmentConfig | None = None,
        draws_key: Sequence[int] | None = None,
        draws_shape: tuple[int, int] | None = None,
    ) -> None:
        """Take videos.

        Args:
            videos: Rows of the table that `read_lists` gives.
            n_classes: C.
            frames: Which frames, and how large.
            augment: Draw frames, crop and flip anew in every epoch, keyed by its seed, the video
                and the epoch; None takes what is taken for testing.
            draws_key: Also give uniform draws, keyed by this, the epoch and the video's row; None
                gives none, for `FullFrames`.
            draws_shape: Of a video's draws; None is ``(T, 2)``, which `OnPixels` takes.
        """
        self.n = len(videos)
        self._clips = clips_of(videos)
        self.labels = targets(videos["labels"], n_classes)
        self._frames, self._augment, self._key = frames, augment, draws_key
        self._draws_shape = (frames.steps, 2) if draws_shape is None else draws_shape
        self._kept: dict[int, Tensor] = {}
        self._room = KEPT_BYTES if augment is None else 0  # bytes that are left
        self._lock = Lock()

    def batches(self, epoch: int, rows: Sequence[Tensor]) -> Iterator[tuple[Tensor, ...]]:
        """Yield frames uint8, the draws if asked for, and labels.

        Frames are ``(B, T, 3, S, S)``, or ``(B, T, F, 3, S, S)`` where a segment has several.

        Raises:
            VideoError: If a video cannot be read.
        """

        def read(row: int) -> Tensor:
            if row in self._kept:
                return self._kept[row]
            pixels = read_frames(self._clips[row], self._frames, self._augment, epoch)[0]
            with self._lock:  # several threads decode
                if pixels.nbytes <= self._room and row not in self._kept:
                    self._room -= pixels.nbytes
                    self._kept[row] = pixels
            return pixels

        wanted = (row for some in rows for row in some.tolist())
        decoded = ahead(read, wanted, os.cpu_count() or 1)
        for some in rows:
            frames = torch.stack([next(decoded) for _ in some])
            if self._key is None:
                yield frames, self.labels[some]
            else:
                steps, width = self._draws_shape
                draws = uniform_draws(some.tolist(), steps, [*self._key, epoch], width)
                yield frames, draws, self.labels[some]


def cache_samples(
    cache: FeatureCache,
    videos: NDArray[np.int64],
    choose: Callable[[int, Tensor], tuple[Tensor, Tensor]],
) -> TensorSamples:
    """Return rows of a cache as samples of `OnFeatures`.

    Args:
        cache: The feature cache.
        videos: Rows of the cache ``(n,)``.
        choose: Gives, for an epoch and samples ``(B,)`` in ``[0, n)``, options ``(B, T)`` and
            whether they are attended, ``(B, T)`` bool; see `FeatureCache.sequences`.
    """
    labels = targets(cache.videos["labels"].iloc[videos], cache.n_classes).to(cache.device)

    def load(epoch: int, rows: Tensor) -> tuple[Tensor, ...]:
        options, attended = (each.cpu().numpy() for each in choose(epoch, rows))
        glance, local, _ = cache.sequences(videos[rows.numpy()], options, attended)
        return glance, local, labels[rows.to(cache.device)]

    return TensorSamples(len(videos), load, labels)


def targets(labels: pd.Series[str], n_classes: int) -> Tensor:
    """Return labels ``(N,)`` int64; or ``(N, C)`` bool where a video has several."""
    if labels.str.contains(";").any():
        return torch.from_numpy(label_matrix(labels.reset_index(drop=True), n_classes))
    return torch.tensor(labels.astype(np.int64).to_numpy())
