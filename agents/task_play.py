"""A model of Stable-Baselines3 in any environment, video by video: accuracy and cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from ..envs import EnvConfig, Episodes, FocusEngine, Source, make_sb3
from ..envs.core import Player
from ..envs.tasks.make import make_task
from ..envs.tasks.observations import observe
from ..recognizer import ExitRule, confidence
from .looks import Looks, LookTable

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
class TaskTrace(Looks):
    """What came of an episode of each of B cached videos.

    Attributes:
        videos: ``(B,)`` rows of the cache.
        returns: ``(B,)`` float64, sums of rewards.
        confidence: ``(B,)`` float64 on the true label, at the end.
        correct: ``(B,)`` bool, whether the prediction at the end is right.
    """

    videos: NDArray[np.int64]
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
        split: Split of the cache whose videos are played.
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
    model: Predictor,
    env_id: str,
    *,
    split: str = "test",
    rows: NDArray[np.int64] | None = None,
    deterministic: bool = True,
    **config: Any,
) -> TaskTrace:
    """Let a model play every video of a split once, and keep every look.

    Args:
        model: As of `play_task`.
        env_id: As of `play_task`.
        split: As of `play_task`.
        rows: ``(B,)`` different rows of the cache, which are played instead of a split.
        deterministic: As of `play_task`.
        **config: As of `play_task`.

    Raises:
        ValueError, CacheError: As `play_task`.
    """
    if rows is None:
        rows = make_sb3(env_id, 1, split=split, **config).player.cache.split(split)
    parts = []
    for start in range(0, len(rows), N_ENVS):
        some = rows[start : start + N_ENVS]
        env_keywords = {**config, "split": None, "videos": some.tolist(), "order": "listed"}
        player = make_sb3(env_id, len(some), **env_keywords).player
        parts.append(_play(model, player, some, deterministic))
    return TaskTrace(**_joined([vars(part) for part in parts]))


def _joined(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the columns of several parts as one; those that are None in all of them stay so."""
    columns = {name: [part[name] for part in parts] for name in parts[0]}
    logits = torch.cat(columns.pop("logits"))
    joined = {name: None if of[0] is None else np.concatenate(of) for name, of in columns.items()}
    return {**joined, "logits": logits}


def trace_source(
    model: Predictor,
    config: EnvConfig,
    source: Source,
    videos: NDArray[np.int64],
    *,
    exits: ExitRule | None = None,
) -> TaskTrace:
    """Let a model play videos of any source once, by the rules of an environment.

    What it does and what that costs is what `trace_task` tells; rewards are 0.

    Args:
        model: As of `play_task`.
        config: Keywords of the environment; the source has the files, and these are not opened.
        source: Features and classifier, of a cache or of pixels.
        videos: ``(B,)`` different rows of the source.
        exits: When a video stops before its episode ends, see `play_rules`; None for never.

    Raises:
        ValueError: If the keywords do not fit the source.
        CacheError: If features are not finite.
    """
    parts = [
        vars(play_rules(model, config, source, videos[start : start + N_ENVS], exits=exits))
        for start in range(0, len(videos), N_ENVS)
    ]
    looks = _joined(parts)
    logits = looks["logits"]
    labels = source.labels[torch.from_numpy(videos)].cpu()
    return TaskTrace(
        **looks,
        videos=videos,
        returns=np.zeros(len(videos)),
        confidence=confidence(logits[:, -1], labels).double().numpy(),
        correct=(logits[:, -1].argmax(dim=-1) == labels).numpy(),
    )


@torch.no_grad()
def play_rules(
    model: Predictor,
    config: EnvConfig,
    source: Source,
    videos: NDArray[np.int64],
    *,
    exits: ExitRule | None = None,
) -> Looks:
    """Let a model play videos ``(B,)`` together by the rules of an environment; see `trace_source`.

    An encoder of a source of pixels runs on a video until its episode ends. With ``exits`` it also
    ends after a decision with which f_C's prediction is sure enough; the rule's steps count the
    segments that f_C was fed. A decision about several segments is not interrupted.
    """
    n_videos = len(videos)
    engine = FocusEngine(source)
    task = make_task(config, engine, source.frame_cost, n_videos, rewarded=False)
    engine.start(videos)
    task.begin(np.ones(n_videos, dtype=bool))
    episodes = _no_draws(n_videos, task.timeline.n_decisions)
    running, begins, state = np.ones(n_videos, dtype=bool), np.ones(n_videos, dtype=bool), None
    masked = "action_masks" in signature(model.predict).parameters
    table = LookTable(n_videos, source.cache.steps, source.cache.n_classes)
    n_fed = np.zeros(n_videos, dtype=np.int64)
    while running.any():
        masks = {"action_masks": task.masks()} if masked else {}
        actions, state = model.predict(observe(task), state, begins, deterministic=True, **masks)
        decision = task.decide(task.read(actions), episodes)
        table.add(decision.looks, running)
        begins = decision.over  # those that are over begin again, and nothing is computed
        if exits is not None:
            fed = np.sum([look.fed for look in decision.looks], axis=0)
            n_fed += fed
            last = torch.from_numpy(np.maximum(n_fed - 1, 0))
            begins = begins | (
                (fed > 0) & exits.stops(decision.looks[-1].logits.cpu(), last).numpy()
            )
        running = running & ~begins
        source.end(videos[begins])
        if begins.any() and running.any():
            engine.start(engine.videos, begins)
            task.begin(begins)
    table.hold()
    return table.looks


def _no_draws(n_videos: int, n_decisions: int) -> Episodes:
    """Return episodes in which nothing is drawn, for rewards are not asked for."""
    rows = np.arange(n_videos)
    return Episodes(rows, 0, n_decisions, np.zeros(1, dtype=np.int64), rows, n_videos, 0)


def _play(
    model: Predictor, player: Player, videos: NDArray[np.int64], deterministic: bool
) -> TaskTrace:
    """Play each video in an environment of its own; what begins after its end is not looked at."""
    n = len(videos)
    table = LookTable(n, player.cache.steps, player.cache.n_classes)
    returns, confidence, correct = np.zeros(n), np.zeros(n), np.zeros(n, dtype=bool)
    masked = "action_masks" in signature(model.predict).parameters
    player.start()
    running, state, begins = np.ones(n, dtype=bool), None, np.ones(n, dtype=bool)
    while running.any():
        masks = {"action_masks": player.action_masks()} if masked else {}
        actions, state = model.predict(
            player.observe(), state, begins, deterministic=deterministic, **masks
        )
        outcome = player.step(actions)
        begins = outcome.done
        table.add(player.looks, running)
        if (ends := begins & running).any():
            info = outcome.info
            returns[ends] = info["episode_return"][ends]
            confidence[ends], correct[ends] = info["confidence"][ends], info["correct"][ends]
        running = running & ~begins
        if begins.any() and running.any():
            player.start(begins)
    table.hold()
    return TaskTrace(
        **vars(table.looks),
        videos=videos,
        returns=returns,
        confidence=confidence,
        correct=correct,
    )
