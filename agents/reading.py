"""What comes of reading segments in an order that is known beforehand, to its end or to an exit."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..envs import FocusEngine, Source
from ..recognizer import ExitRule, confidence
from .task_play import N_ENVS, TaskTrace

# Of the index of a segment in the order and f_C's states (B, S) before and after it: who stops.
Stops = Callable[[int, Tensor, Tensor], Tensor]


@torch.no_grad()
def read_segments(
    source: Source,
    videos: NDArray[np.int64],
    segments: Sequence[int] | NDArray[np.int64],
    option: int | NDArray[np.int64] = 0,
    *,
    looks: Sequence[bool] | None = None,
    stops: Stops | None = None,
    exits: ExitRule | None = None,
    decision_gmacs: float = 0.0,
    agent_gmacs: float = 0.0,
    plan_gmacs: float | None = None,
) -> TaskTrace:
    """Read segments of every video in a known order, to its end or until the video stops.

    f_L and f_C run on each segment, f_G where f_C takes its vectors, and none of them once a video
    has stopped. Rewards are 0.

    Args:
        source: Features and classifier.
        videos: ``(B,)`` rows of the source.
        segments: D of them, at most T; or those of the videos, ``(B, D)``.
        option: That f_L is run on in each; or those of the videos, ``(B,)``.
        looks: In which of the D segments f_L runs; elsewhere f_C is fed a zero local vector. None:
            in all.
        stops: Says ``(B,)`` bool which videos stop, after every segment but the last; None for
            none.
        exits: Likewise, by how sure the prediction after the segment is; None for never.
        decision_gmacs: Of asking ``stops`` once.
        agent_gmacs: Of what names the options, for a segment.
        plan_gmacs: Of naming the segments of a video after a glance at all of them, with which f_G
            is charged for all; None where they are known without.
    """
    options = np.broadcast_to(np.asarray(option, dtype=np.int64), len(videos)).copy()
    n_read = np.shape(segments)[-1]
    order = np.broadcast_to(np.asarray(segments, dtype=np.int64), (len(videos), n_read)).copy()
    attended = np.ones(n_read, dtype=bool) if looks is None else np.asarray(looks, dtype=bool)
    parts = []
    for start in range(0, len(videos), N_ENVS):
        some = slice(start, start + N_ENVS)
        parts.append(
            _read(source, videos[some], order[some], options[some], attended, stops, exits)
        )
    every, sure, last = (torch.cat(column) for column in zip(*parts, strict=True))
    stopped = last.numpy()
    cost, steps = source.frame_cost, source.cache.steps
    before_gmacs, glance_gmacs = 0.0, 0.0
    if plan_gmacs is not None:
        before_gmacs = plan_gmacs + steps * cost.glance_gmacs
    elif source.classifier.config.reuse_glance:
        glance_gmacs = cost.glance_gmacs
    dearest = float(source.cache.option_gmacs[options].max())  # all of a group have one price
    each = glance_gmacs + agent_gmacs + attended * dearest + cost.classifier_gmacs  # (D,)
    columns = np.arange(steps)
    fed = columns <= stopped[:, None]  # (B, T)
    held = np.minimum(columns, stopped[:, None])
    decisions = np.zeros_like(held) if stops is None else np.minimum(held + 1, n_read - 1)
    ends = (0, steps - n_read)
    looked = fed & np.pad(attended, ends)
    return TaskTrace(
        videos=videos,
        segments=np.where(fed, np.pad(order, ((0, 0), ends)), -1),
        options=np.repeat(options[:, None], steps, axis=1),
        named=looked,
        attended=looked,
        fed=fed,
        logits=every[:, torch.from_numpy(np.minimum(columns, n_read - 1))],  # (B, T, C)
        gmacs=before_gmacs + each.cumsum()[held] + decisions * decision_gmacs,
        decisions=decisions[:, -1],
        returns=np.zeros(len(videos)),
        confidence=sure.double().numpy(),
        correct=(every[:, -1].argmax(dim=-1) == source.labels[videos]).numpy(),
    )


def _read(
    source: Source,
    videos: NDArray[np.int64],
    segments: NDArray[np.int64],
    options: NDArray[np.int64],
    attended: NDArray[np.bool_],
    stops: Stops | None,
    exits: ExitRule | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return logits ``(B, D, C)``, held after an exit, confidences and exits ``(B,)``."""
    engine, n = FocusEngine(source), len(videos)
    engine.start(videos)
    running, ends = np.ones(n, dtype=bool), np.full(n, len(attended) - 1)
    before, logits = source.classifier.summary(engine.state), []
    for d, looks in enumerate(attended):
        fed = None if stops is None and exits is None else running
        look = None if looks else np.zeros((n, 1), dtype=bool)
        engine.commit(engine.try_options(segments[:, d], options[:, None], look, fed=fed))
        logits.append(engine.logits.cpu())
        if d + 1 == len(attended):
            break
        now = np.zeros(n, dtype=bool)
        if stops is not None:
            after = source.classifier.summary(engine.state)
            now, before = stops(d, before, after).cpu().numpy(), after
        if exits is not None:
            now = now | exits.stops(logits[-1], d).numpy()
        now = now & running
        ends[now], running = d, running & ~now
    sure = confidence(engine.logits.cpu(), source.labels[videos].cpu())
    return torch.stack(logits, dim=1), sure, torch.from_numpy(ends)


@torch.no_grad()
def read_states(
    source: Source, videos: NDArray[np.int64], segments: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Return what f_C comes to after each segment: ``(B, D, S)`` states, ``(B, D, C)`` logits.

    Args:
        source: Features and classifier.
        videos: ``(B,)`` rows of the source.
        segments: D of them, in which f_L is run on the first option.
    """
    engine = FocusEngine(source)
    states: list[Tensor] = []
    logits: list[Tensor] = []
    for start in range(0, len(videos), N_ENVS):
        engine.start(videos[start : start + N_ENVS])
        rows, by_segment = len(engine.videos), []
        for segment in segments:
            option = np.zeros((rows, 1), dtype=np.int64)
            engine.commit(engine.try_options(np.full(rows, segment), option))
            by_segment.append((source.classifier.summary(engine.state).cpu(), engine.logits.cpu()))
        for parts, column in zip((states, logits), zip(*by_segment, strict=True), strict=True):
            parts.append(torch.stack(column, dim=1))
    return torch.cat(states), torch.cat(logits)
