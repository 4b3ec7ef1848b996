"""What comes of reading segments that are known beforehand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from ...envs import FocusEngine, Source
from ..task_play import N_ENVS, TaskTrace


@torch.no_grad()
def read_segments(
    source: Source, videos: NDArray[np.int64], segments: Sequence[int], option: int = 0
) -> TaskTrace:
    """Read the same segments of every video, in the same order.

    Nobody decides: f_L and f_C run on each segment, f_G where f_C takes its vectors. Rewards are 0.

    Args:
        source: Features and classifier.
        videos: ``(B,)`` rows of the source.
        segments: At most T of them.
        option: That f_L is run on in each.
    """
    engine, cost, n = FocusEngine(source), source.frame_cost, len(videos)
    steps, last = source.cache.steps, len(segments) - 1
    glance_gmacs = cost.glance_gmacs if source.classifier.config.reuse_glance else 0.0
    each = glance_gmacs + float(source.cache.option_gmacs[option]) + cost.classifier_gmacs
    looks = np.minimum(np.arange(steps), last)  # (T,): after the last one everything is held
    there = np.tile(np.arange(steps) <= last, (n, 1))
    logits, confidence = [], []
    for start in range(0, n, N_ENVS):
        engine.start(videos[start : start + N_ENVS])
        rows = len(engine.videos)
        found = []
        for segment in segments:
            tried = engine.try_options(np.full(rows, segment), np.full((rows, 1), option))
            engine.commit(tried)
            found.append(engine.logits.cpu())
        logits.append(torch.stack(found, dim=1)[:, torch.from_numpy(looks)])
        confidence.append(engine.confidence.double().cpu().numpy())
    every = torch.cat(logits)
    return TaskTrace(
        videos=videos,
        segments=np.where(there, np.asarray(segments)[looks], -1),
        options=np.where(there, option, -1),
        attended=there,
        fed=there.copy(),
        logits=every,
        gmacs=np.tile((looks + 1) * each, (n, 1)),
        decisions=np.zeros(n, dtype=np.int64),
        returns=np.zeros(n),
        confidence=np.concatenate(confidence),
        correct=(every[:, -1].argmax(dim=-1) == source.labels[videos]).numpy(),
    )
