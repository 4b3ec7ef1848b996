"""Whole videos looked at in one place: what each of several options would come to."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .engine import FocusEngine


class TriedClips(NamedTuple):
    """What whole videos come to.

    Attributes:
        logits: ``(B, M, C)`` after the last segment.
        confidences: ``(B, M)`` on the true label.
    """

    logits: Tensor
    confidences: Tensor


def try_clips(
    engine: FocusEngine, options: NDArray[np.int64], attended: NDArray[np.bool_] | None = None
) -> TriedClips:
    """Return what videos would come to that are looked at with one option in all segments.

    Nothing goes on; the episodes must have begun, and been fed nothing. Where a video is one
    segment, all alternatives are computed at once.

    Args:
        engine: Plays B episodes.
        options: ``(B, M)`` in ``[0, K)``.
        attended: ``(B, M)`` whether f_L runs, in all segments or in none. None: everywhere.

    Raises:
        ValueError, RuntimeError, CacheError: As `FocusEngine.try_options`.
    """
    steps = engine.cache.steps
    looks = np.ones(options.shape, dtype=bool) if attended is None else attended
    if steps == 1:
        tried = engine.try_options(np.zeros(len(options), dtype=np.int64), options, looks)
        return TriedClips(tried.logits, tried.confidences)
    logits, confidences = [], []
    for column in range(options.shape[1]):
        for t in range(steps):
            segments = np.full(len(options), t)
            these = slice(column, column + 1)
            engine.commit(engine.try_options(segments, options[:, these], looks[:, these]))
        logits.append(engine.logits)
        confidences.append(engine.confidence)
        engine.restart()
    return TriedClips(torch.stack(logits, dim=1), torch.stack(confidences, dim=1))
