"""What comes of reading segments in an order that is known beforehand, to its end or to an exit."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..envs import FocusEngine, Source
from ..recognizer import confidence
from .task_play import N_ENVS, TaskTrace

# Of the index of a segment in the order and f_C's states (B, S) before and after it: who stops.
Stops = Callable[[int, Tensor, Tensor], Tensor]


@torch.no_grad()
def read_segments(
    source: Source,
    videos: NDArray[np.int64],
    segments: Sequence[int],
    option: int | NDArray[np.int64] = 0,
    *,
    stops: Stops | None = None,
    decision_gmacs: float = 0.0,
    agent_gmacs: float = 0.0,
) -> TaskTrace:
    """Read segments of every video in the same order, to its end or until the video stops.

    f_L and f_C run on each segment, f_G where f_C takes its vectors, and none of them once a video
    has stopped. Rewards are 0.

    Args:
        source: Features and classifier.
        videos: ``(B,)`` rows of the source.
        segments: D of them, at most T.
        option: That f_L is run on in each; or those of the videos, ``(B,)``.
        stops: Says ``(B,)`` bool which videos stop, after every segment but the last; None for
            none.
        decision_gmacs: Of asking ``stops`` once.
        agent_gmacs: Of what names the options, for a segment.
    """
    options = np.broadcast_to(np.asarray(option, dtype=np.int64), len(videos))
    parts = []
    for start in range(0, len(videos), N_ENVS):
        some = slice(start, start + N_ENVS)
        parts.append(_read(source, videos[some], segments, options[some], stops))
    every, sure, last = (torch.cat(column) for column in zip(*parts, strict=True))
    exits = last.numpy()
    cost, steps = source.frame_cost, source.cache.steps
    glance_gmacs = cost.glance_gmacs if source.classifier.config.reuse_glance else 0.0
    dearest = float(source.cache.option_gmacs[options].max())  # all of a group have one price
    each = glance_gmacs + agent_gmacs + dearest + cost.classifier_gmacs
    columns = np.arange(steps)
    there = columns <= exits[:, None]  # (B, T)
    held = np.minimum(columns, exits[:, None])
    asked = np.zeros_like(held) if stops is None else np.minimum(held + 1, len(segments) - 1)
    order = np.pad(np.asarray(segments), (0, steps - len(segments)))
    return TaskTrace(
        videos=videos,
        segments=np.where(there, order, -1),
        options=np.where(there, options[:, None], -1),
        attended=there,
        fed=there.copy(),
        logits=every[:, torch.from_numpy(np.minimum(columns, len(segments) - 1))],  # (B, T, C)
        gmacs=(held + 1) * each + asked * decision_gmacs,
        decisions=asked[:, -1],
        returns=np.zeros(len(videos)),
        confidence=sure.double().numpy(),
        correct=(every[:, -1].argmax(dim=-1) == source.labels[videos]).numpy(),
    )


def _read(
    source: Source,
    videos: NDArray[np.int64],
    segments: Sequence[int],
    options: NDArray[np.int64],
    stops: Stops | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return logits ``(B, D, C)``, held after an exit, confidences and exits ``(B,)``."""
    engine, n = FocusEngine(source), len(videos)
    engine.start(videos)
    running, exits = np.ones(n, dtype=bool), np.full(n, len(segments) - 1)
    before, found = source.classifier.summary(engine.state), []
    for d, segment in enumerate(segments):
        fed = None if stops is None else running
        engine.commit(engine.try_options(np.full(n, segment), options[:, None], fed=fed))
        found.append(engine.logits.cpu())
        if stops is not None and d + 1 < len(segments):
            after = source.classifier.summary(engine.state)
            now = running & stops(d, before, after).cpu().numpy()
            exits[now], running, before = d, running & ~now, after
    sure = confidence(engine.logits.cpu(), source.labels[videos].cpu())
    return torch.stack(found, dim=1), sure, torch.from_numpy(exits)


@torch.no_grad()
def read_states(
    source: Source, videos: NDArray[np.int64], segments: Sequence[int], option: int = 0
) -> tuple[Tensor, Tensor]:
    """Return what f_C comes to after each segment: ``(B, D, S)`` states, ``(B, D, C)`` logits.

    Args:
        source: Features and classifier.
        videos: ``(B,)`` rows of the source.
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
