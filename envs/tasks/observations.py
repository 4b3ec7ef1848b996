"""What an agent observes: glance maps, an index, or all that an episode knows so far."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

from ..engine.engine import FocusEngine
from .task import Task


def observation_space(observation: str, engine: FocusEngine) -> spaces.Space[Any]:
    """Return the space of one environment's observations.

    Args:
        observation: ``map``: the glance map of the segment that the next decision is about, flat
            ``(h·w·G,)``, channels last. ``index``: ``video`` and ``t``, that segment, ``(1,)``
            int64 each. ``state``: ``glances`` ``(T, G)``, glance vectors of the segments that f_G
            has run on and zeros elsewhere; ``now`` ``(T,)``, 1 at the segment that the next
            decision is about, or at several; ``seen`` ``(T,)``, 1 where f_C was fed; ``state``
            ``(S,)`` of f_C; and ``probabilities`` ``(C,)``, the prediction so far. ``maps``: the
            same with ``maps`` ``(T, h, w, G)``, the glance maps of all segments, in place of
            ``glances``.
        engine: Over the cache and f_C.
    """
    cache, steps = engine.cache, engine.cache.steps
    low, high = cache.manifest["glance_map_range"]
    if observation == "map":
        return spaces.Box(low, high, (int(np.prod(cache.map_shape)),), np.float32)
    if observation == "index":
        return spaces.Dict(
            {
                "video": spaces.Box(0, cache.n_videos - 1, (1,), np.int64),
                "t": spaces.Box(0, steps - 1, (1,), np.int64),
            }
        )
    width = engine.source.classifier.start(1).shape[1]
    if observation == "maps":
        shown = {"maps": spaces.Box(low, high, (steps, *cache.map_shape), np.float32)}
    else:
        glances = (steps, cache.glance_channels)
        shown = {"glances": spaces.Box(min(low, 0.0), max(high, 0.0), glances, np.float32)}
    return spaces.Dict(
        {
            **shown,
            "now": spaces.Box(0, 1, (steps,), np.float32),
            "probabilities": spaces.Box(0, 1, (cache.n_classes,), np.float32),
            "seen": spaces.Box(0, 1, (steps,), np.float32),
            "state": spaces.Box(-np.inf, np.inf, (width,), np.float32),
        }
    )


def observe(task: Task[Any, Any]) -> Any:
    """Return the N observations that the keywords ask for; see `observation_space`.

    Raises:
        CacheError: If a glance map is not finite.
    """
    engine, segments = task.engine, task.upcoming()
    videos = engine.videos
    if task.config.observation == "index":
        return {"video": videos[:, None].copy(), "t": segments[:, None].copy()}
    source = engine.source
    if task.config.observation == "map":
        return source.glance_map(videos, segments).flatten(1).cpu().numpy()
    steps = np.arange(engine.cache.steps)
    if task.config.observation == "maps":
        rows, at = np.repeat(videos, len(steps)), np.tile(steps, len(videos))
        maps = source.glance_map(rows, at).unflatten(0, (-1, len(steps)))  # (N, T, h, w, G)
        shown = {"maps": maps.cpu().numpy()}
    else:
        shown = {"glances": source.glances(videos, task.glanced()).cpu().numpy()}  # (N, T, G)
    return {
        **shown,
        "now": task.pointed().astype(np.float32),
        "probabilities": engine.logits.softmax(dim=-1).cpu().numpy(),
        "seen": task.seen.astype(np.float32),
        "state": source.classifier.summary(engine.state).cpu().numpy(),
    }
