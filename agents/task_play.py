"""A model of Stable-Baselines3 in any environment, video by video: accuracy and cost."""

from __future__ import annotations

from dataclasses import dataclass, fields
from inspect import signature
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..envs import make_sb3
from ..envs.core import Player

N_ENVS = 256  # videos at a time: memory does not grow with their number


class Predictor(Protocol):
    """What acts in an environment; every algorithm of Stable-Baselines3 and sb3-contrib does."""

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
    ) -> tuple[NDArray[Any], Any]:
        """Return actions for N observations, and the state after them."""


@dataclass(frozen=True, eq=False)
class TaskTrace:
    """What came of an episode of each of B videos, look by look.

    A column is one segment that a decision was about: a subset of segments has one for each. There
    are T columns; after the end of an episode its logits and its cost stay as they were.

    Attributes:
        videos: ``(B,)`` rows of the cache.
        segments: ``(B, T)`` int64; −1 after the end.
        options: ``(B, T)`` int64, the option that was named; −1 where none was.
        attended: ``(B, T)`` bool, whether f_L ran.
        fed: ``(B, T)`` bool, whether f_C went on.
        logits: ``(B, T, C)`` after the look.
        gmacs: ``(B, T)`` float64, what the video has cost after it.
        decisions: ``(B,)`` int64, how many there were.
        returns: ``(B,)`` float64, sums of rewards.
        confidence: ``(B,)`` float64 on the true label, at the end.
        correct: ``(B,)`` bool, whether the prediction at the end is right.
    """

    videos: NDArray[np.int64]
    segments: NDArray[np.int64]
    options: NDArray[np.int64]
    attended: NDArray[np.bool_]
    fed: NDArray[np.bool_]
    logits: Tensor
    gmacs: NDArray[np.float64]
    decisions: NDArray[np.int64]
    returns: NDArray[np.float64]
    confidence: NDArray[np.float64]
    correct: NDArray[np.bool_]


def play_task(
    model: Predictor, env_id: str, *, split: str = "test", deterministic: bool = True, **config: Any
) -> pd.DataFrame:
    """Let a model play every video of a split once.

    Args:
        model: Its ``predict`` is asked step by step, with its own state where it has one, and with
            masks of the possible actions where it takes them (``MaskablePPO``).
        env_id: Such as ``focusgym/Exit-v0``.
        split: Which videos.
        deterministic: Whether the most probable action is taken, or one is drawn.
        **config: Keywords of the environment, as for `make_sb3`: those that the model was trained
            with.

    Returns:
        A row per video, in the cache's order: ``video_id``; ``correct``, whether the prediction at
        the end is right; ``confidence`` on the true label; ``gmacs``, the cost; ``decisions``; and
        ``episode_return``.

    Raises:
        ValueError: If the id is unknown, or a value is out of range.
        CacheError: If the cache cannot be opened or has no such split.
    """
    trace = trace_task(model, env_id, split=split, deterministic=deterministic, **config)
    return pd.DataFrame(
        {
            "video_id": trace.videos,
            "correct": trace.correct,
            "confidence": trace.confidence,
            "gmacs": trace.gmacs[:, -1],
            "episode_return": trace.returns,
            "decisions": trace.decisions,
        }
    )


def trace_task(
    model: Predictor, env_id: str, *, split: str = "test", deterministic: bool = True, **config: Any
) -> TaskTrace:
    """Let a model play every video of a split once, and keep every look.

    Args:
        model: As of `play_task`.
        env_id: As of `play_task`.
        split: As of `play_task`.
        deterministic: As of `play_task`.
        **config: As of `play_task`.

    Raises:
        ValueError, CacheError: As `play_task`.
    """
    probe = make_sb3(env_id, 1, split=split, **config)
    videos = probe.player.cache.split(split)
    parts = []
    for start in range(0, len(videos), N_ENVS):
        some = videos[start : start + N_ENVS]
        asked = {**config, "split": None, "videos": some.tolist(), "order": "listed"}
        player = make_sb3(env_id, len(some), **asked).player
        parts.append(_play(model, player, some, deterministic))
    columns = {name: [getattr(part, name) for part in parts] for name in _NAMES}
    logits = torch.cat(columns.pop("logits"))
    return TaskTrace(**{name: np.concatenate(of) for name, of in columns.items()}, logits=logits)


_NAMES = [each.name for each in fields(TaskTrace)]


def _play(
    model: Predictor, player: Player, videos: NDArray[np.int64], deterministic: bool
) -> TaskTrace:
    """Play each video in an environment of its own; what begins after its end is not looked at."""
    n, steps, rows = len(videos), player.cache.steps, np.arange(len(videos))
    trace = TaskTrace(
        videos=videos,
        segments=np.full((n, steps), -1),
        options=np.full((n, steps), -1),
        attended=np.zeros((n, steps), dtype=bool),
        fed=np.zeros((n, steps), dtype=bool),
        logits=torch.zeros(n, steps, player.cache.n_classes),
        gmacs=np.zeros((n, steps)),
        decisions=np.zeros(n, dtype=np.int64),
        returns=np.zeros(n),
        confidence=np.zeros(n),
        correct=np.zeros(n, dtype=bool),
    )
    masked = "action_masks" in signature(model.predict).parameters
    looks, over = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=bool)
    player.start()
    state, begins = None, np.ones(n, dtype=bool)
    while not over.all():
        masks = {"action_masks": player.action_masks()} if masked else {}
        actions, state = model.predict(
            player.observe(), state, begins, deterministic=deterministic, **masks
        )
        outcome = player.step(actions)
        begins, goes_on = outcome.done, rows[~over]
        for look in player.looks:
            at = goes_on, looks[goes_on]
            for name in ("segments", "options", "attended", "fed", "gmacs"):
                getattr(trace, name)[at] = getattr(look, name)[goes_on]
            trace.logits[at] = look.logits.cpu()[torch.from_numpy(goes_on)]
            looks[goes_on] += 1
        if (ends := begins & ~over).any():
            info = outcome.info
            trace.decisions[ends] = info["episode_length"][ends]
            trace.returns[ends] = info["episode_return"][ends]
            for name in ("confidence", "correct"):
                getattr(trace, name)[ends] = info[name][ends]
        over |= begins
        if begins.any() and not over.all():
            player.start(begins)
    last = np.minimum(np.arange(steps), looks[:, None] - 1)  # (B, T): the look that is held
    trace.gmacs[:] = np.take_along_axis(trace.gmacs, last, axis=1)
    trace.logits[:] = trace.logits.gather(
        1, torch.from_numpy(last)[..., None].expand_as(trace.logits)
    )
    return trace
