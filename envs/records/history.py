"""The decisions of the episodes being played: their records, and pictures of where they stand."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ...feature_cache import FeatureCache, clips_of, read_view
from ..tasks.task import Decision
from .outcome import Outcome
from .record import EpisodeRecord, shown_options
from .render import draw_decision, record_box, record_caption


class History:
    """The last D decisions of N episodes played together."""

    def __init__(
        self, cache: FeatureCache, n_envs: int, n_decisions: int, *, first_label: bool
    ) -> None:
        """Begin with none.

        Args:
            cache: Where the videos are known.
            n_envs: N; the frames of as many videos are kept for pictures.
            n_decisions: D, the most decisions of an episode.
            first_label: Whether the first label of a video alone counts as right, not all.
        """
        self._first_label = first_label
        self._cache = cache
        self._past: deque[tuple[Decision, Outcome]] = deque(maxlen=n_decisions)
        self._n_decisions = np.zeros(n_envs, dtype=np.int64)
        self._frames: dict[int, Tensor] = {}

    def begin(self, which: NDArray[np.bool_]) -> None:
        """Begin anew in the environments ``which``, ``(N,)``."""
        self._n_decisions = np.where(which, 0, self._n_decisions)

    def add(self, decision: Decision, outcome: Outcome) -> None:
        """Remember a decision of every environment; the caller keeps both unchanged."""
        self._past.append((decision, outcome))
        self._n_decisions = self._n_decisions + 1

    def record(self, env: int, video: int) -> EpisodeRecord:
        """Return the record of an episode.

        Args:
            env: Index of the environment.
            video: Row of the cache that it plays.
        """
        cache = self._cache
        past = list(self._past)[len(self._past) - self._n_decisions[env] :]
        own = [[look for look in decision.looks if look.segments[env] >= 0] for decision, _ in past]
        looks = [look for of_one in own for look in of_one]
        rewards = [
            outcome.rewards[env] if look is of_one[-1] else 0.0
            for of_one, (_, outcome) in zip(own, past, strict=True)
            for look in of_one
        ]
        options = np.array([look.options[env] for look in looks], dtype=np.int64)
        named = np.array([look.named[env] for look in looks], dtype=np.bool_)
        truth = cache.label_matrix.numpy()[video]
        if self._first_label:
            truth = np.arange(cache.n_classes) == int(cache.labels[video])
        predicted = np.array([int(look.logits[env].argmax()) for look in looks], dtype=np.int64)
        labels = [cache.classes[int(k)] for k in str(cache.videos["labels"][video]).split(";")]
        height, width, _ = cache.map_shape
        boxes_px = [look.boxes_of(cache.boxes_px)[env] for look in looks]
        return EpisodeRecord(
            video_id=video,
            name=str(cache.videos["name"][video]),
            label="; ".join(labels),
            clip=clips_of(cache.videos.iloc[[video]])[0],
            frames=cache.frames,
            view=cache.view(video),
            map_cells=(height, width),
            cache_fingerprint=cache.fingerprint,
            segments=np.array([look.segments[env] for look in looks], dtype=np.int64),
            options=shown_options(options, named),
            attended=np.array([look.attended[env] for look in looks], dtype=np.bool_),
            fed=np.array([look.fed[env] for look in looks], dtype=np.bool_),
            boxes_px=np.array(boxes_px, dtype=np.int64).reshape(-1, 4),
            confidences=np.array([float(look.confidence[env]) for look in looks], dtype=np.float64),
            correct=truth[predicted],
            rewards=np.array(rewards, dtype=np.float64),
            gmacs=np.array([look.gmacs[env] for look in looks], dtype=np.float64),
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
            frames[record.segments[last]],
            record_caption(record, last + 1),
            record.map_cells,
            record_box(record, last),
            bool(record.attended[last]),
        )

    def _read(self, record: EpisodeRecord) -> Tensor:
        """Return a frame of each segment ``(T, 3, S, S)``, kept for the next decision's picture."""
        if record.video_id not in self._frames:
            if len(self._frames) == len(self._n_decisions):
                self._frames.pop(next(iter(self._frames)))
            (clip,) = self._cache.clips(np.array([record.video_id]))
            frames = read_view(clip, record.frames, record.view)
            self._frames[record.video_id] = record.frames.middle(frames)
        return self._frames[record.video_id]
