"""What became of videos, look by look: the columns that all who play them fill."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..envs import Look


@dataclass(frozen=True, eq=False)
class Looks:
    """An episode of each of B videos, look by look.

    A column is one segment that a decision was about: a subset of segments has one for each. There
    are T columns; after the end of an episode its logits and its cost stay as they were.

    Attributes:
        segments: ``(B, T)`` int64; −1 after the end.
        options: ``(B, T)`` int64 in ``[0, K)``, the option that was named; any where none was.
        named: ``(B, T)`` bool, whether one was.
        attended: ``(B, T)`` bool, whether f_L ran.
        fed: ``(B, T)`` bool, whether f_C went on.
        logits: ``(B, T, C)`` float32 after the look.
        gmacs: ``(B, T)`` float64, what the video has cost after it.
        decisions: ``(B,)`` int64, how many there were.
        boxes_px: ``(B, T, 4)`` float32, where f_L ran, (left, top, right, bottom), of boxes at any
            place of the frame, also between pixels; None where options are chosen.
    """

    segments: NDArray[np.int64]
    options: NDArray[np.int64]
    named: NDArray[np.bool_]
    attended: NDArray[np.bool_]
    fed: NDArray[np.bool_]
    logits: Tensor
    gmacs: NDArray[np.float64]
    decisions: NDArray[np.int64]
    boxes_px: NDArray[np.float32] | None = field(default=None, kw_only=True)

    @property
    def valid(self) -> NDArray[np.bool_]:
        """Which columns a decision was about, ``(B, T)``; the others are after an episode's end."""
        return self.segments >= 0


class LookTable:
    """The columns of `Looks` while episodes are played.

    Attributes:
        looks: Filled so far; what is after the end of an episode is put there by `hold`.
    """

    def __init__(self, n_videos: int, steps: int, n_classes: int) -> None:
        """Begin with no looks.

        Args:
            n_videos: B.
            steps: T.
            n_classes: C.
        """
        shape = n_videos, steps
        self._n = np.zeros(n_videos, dtype=np.int64)
        self._boxes_px = np.zeros((*shape, 4), dtype=np.float32)
        self._names_boxes = False
        self.looks = Looks(
            segments=np.full(shape, -1),
            options=np.zeros(shape, dtype=np.int64),
            named=np.zeros(shape, dtype=bool),
            attended=np.zeros(shape, dtype=bool),
            fed=np.zeros(shape, dtype=bool),
            logits=torch.zeros(*shape, n_classes),
            gmacs=np.zeros(shape),
            decisions=np.zeros(n_videos, dtype=np.int64),
        )

    def add(self, looks: Sequence[Look], running: NDArray[np.bool_]) -> None:
        """Enter the looks of one decision of every video that is running, ``(B,)``."""
        for look in looks:
            rows = np.flatnonzero(running & (look.segments >= 0))
            at = rows, self._n[rows]
            for name in ("segments", "options", "named", "attended", "fed", "gmacs"):
                getattr(self.looks, name)[at] = getattr(look, name)[rows]
            self.looks.logits[at] = look.logits.cpu()[torch.from_numpy(rows)]
            if look.boxes_px is not None:
                self._boxes_px[at], self._names_boxes = look.boxes_px[rows], True
            self._n[rows] += 1
        self.looks.decisions[running] += 1

    def hold(self) -> None:
        """Let logits and costs stay after the end of each episode."""
        steps = self.looks.segments.shape[1]
        last = np.minimum(np.arange(steps), self._n[:, None] - 1)  # (B, T): the look that is held
        self.looks.gmacs[:] = np.take_along_axis(self.looks.gmacs, last, axis=1)
        logits = self.looks.logits
        logits[:] = logits.gather(1, torch.from_numpy(last)[..., None].expand_as(logits))
        if self._names_boxes:
            self.looks = replace(self.looks, boxes_px=self._boxes_px)
