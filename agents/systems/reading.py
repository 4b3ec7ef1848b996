"""What comes of reading segments in an order that is known beforehand, to its end or to an exit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...envs import FeatureSource, FocusEngine
from ...recognizer import confidence
from ..task_play import N_ENVS, TaskTrace


def read_segments(
    source: FeatureSource, videos: NDArray[np.int64], segments: Sequence[int], option: int = 0
) -> TaskTrace:
    """Read the same segments of every video, in the same order.

    Nobody decides: f_L and f_C run on each segment, f_G where f_C takes its vectors. Rewards are 0.

    Args:
        source: Cache and classifier.
        videos: ``(B,)`` rows of the cache.
        segments: At most T of them.
        option: That f_L is run on in each.
    """
    _, logits = read_states(source, videos, segments, option)
    exits = np.full(len(videos), len(segments) - 1)
    return trace_until(source, videos, segments, logits, exits, option=option)


@torch.no_grad()
def read_states(
    source: FeatureSource, videos: NDArray[np.int64], segments: Sequence[int], option: int = 0
) -> tuple[Tensor, Tensor]:
    """Return what f_C comes to after each segment: ``(B, D, S)`` states, ``(B, D, C)`` logits.

    Args:
        source: Cache and classifier.
        videos: ``(B,)`` rows of the cache.
        segments: D of them.
        option: That f_L is run on in each.
    """
    engine = FocusEngine(source)
    states: list[Tensor] = []
    logits: list[Tensor] = []
    for start in range(0, len(videos), N_ENVS):
        engine.start(videos[start : start + N_ENVS])
        rows, found = len(engine.videos), []
        for segment in segments:
            tried = engine.try_options(np.full(rows, segment), np.full((rows, 1), option))
            engine.commit(tried)
            found.append((source.classifier.summary(engine.state).cpu(), engine.logits.cpu()))
        for parts, column in zip((states, logits), zip(*found, strict=True), strict=True):
            parts.append(torch.stack(column, dim=1))
    return torch.cat(states), torch.cat(logits)


def trace_until(
    source: FeatureSource,
    videos: NDArray[np.int64],
    segments: Sequence[int],
    logits: Tensor,
    exits: NDArray[np.int64],
    *,
    option: int = 0,
    decision_gmacs: float = 0.0,
) -> TaskTrace:
    """Return the trace of reading each video up to an exit.

    Args:
        source: Cache and classifier.
        videos: ``(B,)`` rows of the cache.
        segments: D of them, in order.
        logits: ``(B, D, C)`` after each.
        exits: ``(B,)`` in ``[0, D)``, after which of them each video stops.
        option: That f_L is run on in each.
        decision_gmacs: Of deciding whether to stop, after every segment but the last of the order.
    """
    cost, steps = source.frame_cost, source.cache.steps
    glance_gmacs = cost.glance_gmacs if source.classifier.config.reuse_glance else 0.0
    each = glance_gmacs + float(source.cache.option_gmacs[option]) + cost.classifier_gmacs
    columns = np.arange(steps)
    there = columns <= exits[:, None]  # (B, T)
    held = np.minimum(columns, exits[:, None])
    decisions = np.minimum(held + 1, len(segments) - 1)
    order = np.pad(np.asarray(segments), (0, steps - len(segments)))
    rows = torch.from_numpy(held)[..., None].expand(-1, -1, logits.shape[-1])
    every = logits.gather(1, rows)
    labels = source.cache.labels[videos]
    return TaskTrace(
        videos=videos,
        segments=np.where(there, order, -1),
        options=np.where(there, option, -1),
        attended=there,
        fed=there.copy(),
        logits=every,
        gmacs=(held + 1) * each + decisions * decision_gmacs,
        decisions=decisions[:, -1] if decision_gmacs else np.zeros(len(videos), dtype=np.int64),
        returns=np.zeros(len(videos)),
        confidence=confidence(every[:, -1], labels).double().numpy(),
        correct=(every[:, -1].argmax(dim=-1) == labels).numpy(),
    )
