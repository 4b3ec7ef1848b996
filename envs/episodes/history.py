"""The decisions of the episodes being played: their records, and pictures of where they stand."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ...feature_cache import FeatureCache, clips_of, read_view
from ..records.record import EpisodeRecord
from ..records.render import draw_decision, record_box, record_caption
from ..tasks.actions import Choice
from .outcome import Outcome


class History:
    """The last T decisions of N episodes played together."""

    def __init__(self, cache: FeatureCache, n_envs: int) -> None:
        """Begin with none.

        Args:
            cache: Where the videos are known.
            n_envs: N; the frames of as many videos are kept for pictures.
        """
        self._cache = cache
        self._past: deque[tuple[Choice, Outcome]] = deque(maxlen=cache.steps)
        self._n_decisions = np.zeros(n_envs, dtype=np.int64)
        self._frames: dict[int, Tensor] = {}

    def begin(self, which: NDArray[np.bool_]) -> None:
        """Begin anew in the environments ``which``, ``(N,)``."""
        self._n_decisions = np.where(which, 0, self._n_decisions)

    def add(self, choice: Choice, outcome: Outcome) -> None:
        """Remember a decision of every environment; the caller keeps the outcome unchanged."""
        self._past.append((choice, outcome))
        self._n_decisions = self._n_decisions + 1

    def record(self, env: int, video: int) -> EpisodeRecord:
        """Return the record of an episode.

        Args:
            env: Which environment.
            video: Row of the cache that it plays.
        """
        cache = self._cache
        past = list(self._past)[len(self._past) - self._n_decisions[env] :]

        def column(name: str) -> list[float]:
            return [outcome.info[name][env] for _, outcome in past]

        options = np.array([choice.options[env] for choice, _ in past], dtype=np.int64)
        labels = [cache.classes[int(k)] for k in str(cache.videos["labels"][video]).split(";")]
        height, width, _ = cache.map_shape
        return EpisodeRecord(
            video_id=video,
            name=str(cache.videos["name"][video]),
            label="; ".join(labels),
            clip=clips_of(cache.videos.iloc[[video]])[0],
            frames=cache.frames,
            view=cache.view(video),
            map_cells=(height, width),
            cache_fingerprint=cache.fingerprint,
            options=np.where(options < cache.n_options, options, -1),
            looked=np.array([choice.looks[env] for choice, _ in past], dtype=np.bool_),
            boxes_px=np.array(column("box_px"), dtype=np.int64).reshape(-1, 4),
            confidences=np.array(column("confidence"), dtype=np.float64),
            correct=np.array(column("correct"), dtype=np.bool_),
            rewards=np.array([outcome.rewards[env] for _, outcome in past], dtype=np.float64),
            gmacs=np.array(column("gmacs"), dtype=np.float64),
        )

    def picture(self, record: EpisodeRecord) -> NDArray[np.uint8]:
        """Draw the last decision of a record, or, before any, the first frame; ``(H, W, 3)``.

        Raises:
            VideoError: If the video is gone or cannot be read; the message names it.
        """
        frames, last = self._read(record), record.n_decisions - 1
        if last < 0:
            return draw_decision(frames[0], record_caption(record, 0), record.map_cells)
        return draw_decision(
            frames[last],
            record_caption(record, last + 1),
            record.map_cells,
            record_box(record, last),
            bool(record.looked[last]),
        )

    def _read(self, record: EpisodeRecord) -> Tensor:
        """Return the frames ``(T, 3, S, S)``, kept for the next decision's picture."""
        if record.video_id not in self._frames:
            if len(self._frames) == len(self._n_decisions):
                self._frames.pop(next(iter(self._frames)))
            (clip,) = self._cache.clips(np.array([record.video_id]))
            frames = read_view(clip, record.frames, record.view)
            self._frames[record.video_id] = frames
        return self._frames[record.video_id]
