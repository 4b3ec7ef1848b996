"""An agent of any environment plugged back: it acts on pixels, and encoders run where it looks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from inspect import signature
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..envs import Decision, Episodes, FocusEngine, Look, PixelSource
from ..envs.tasks.observations import observe
from ..envs.tasks.registry import config_of, make_task
from ..feature_cache import FeatureCache
from ..recognizer import autocast_dtype, read_classifier
from .task_play import Predictor


@dataclass(frozen=True)
class TaskRecognition:
    """What an agent looked at, concluded and spent, in B videos with at most D looks each.

    After the end of a video its last logits and its cost stay, and nothing is fed.

    Attributes:
        logits: ``(B, D, C)`` float32 after each look.
        segments: ``(B, D)`` int64 that each look was about.
        options: ``(B, D)`` int64, the option that was named; −1 where none was.
        attended: ``(B, D)`` bool, whether f_L ran.
        fed: ``(B, D)`` bool, whether f_C went on.
        gmacs: ``(B, D)`` float64, what the video has cost up to and including each look, as the
            environment charges it.
        decisions: ``(B,)`` int64, how many the agent made.
        encoder_gmacs: ``(B,)`` float64, what f_G and f_L have really computed.
    """

    logits: Tensor
    segments: NDArray[np.int64]
    options: NDArray[np.int64]
    attended: NDArray[np.bool_]
    fed: NDArray[np.bool_]
    gmacs: NDArray[np.float64]
    decisions: NDArray[np.int64]
    encoder_gmacs: NDArray[np.float64]

    @property
    def predicted(self) -> Tensor:
        """``(B,)`` int64, the class with the largest logit at the end of each video."""
        return self.logits[:, -1].argmax(dim=1)


class TaskRecognizer:
    """f_G, f_L, f_C and an agent of an environment, on videos whose frames are all given.

    The rules of the environment, and no others, say what an action means, which segment comes next
    and when a video ends. Encoders run when their features are asked for: what the agent did not
    look at, and all that comes after its stop, is not computed.

    Attributes:
        config: The keywords of the environment.
        cache: On which f_C and the agent were trained; it says how frames are read, and holds the
            encoders.
        classifier: f_C.
    """

    def __init__(
        self, model: Predictor, env_id: str, *, precision: str = "float32", **config: Any
    ) -> None:
        """Read encoders and classifier.

        Args:
            model: Its ``predict`` is asked step by step; see `play_task`.
            env_id: Such as ``focusgym/Exit-v0``.
            precision: In which the encoders compute: ``float32``, ``bfloat16`` or ``float16``.
            **config: Keywords of the environment that the model was trained with.

        Raises:
            TypeError: If a keyword is unknown.
            ValueError: If the id or the precision is unknown, or observations are of the kind
                ``index``, by which an agent reads a cache.
            CacheError: If the cache cannot be opened, or its encoders were changed.
            BundleError: If a bundle cannot be read, or belongs to another cache.
        """
        asked = config_of(env_id, config)
        if asked.observation == "index":
            raise ValueError(
                "expected observations of the kind map or state; got index, by which an agent "
                "reads features from the cache: train it with another one to use it on pixels"
            )
        self.config = asked
        self.cache = FeatureCache.open(asked.cache, asked.group, asked.device, asked.videos_root)
        self.classifier = read_classifier(asked.classifier, self.cache.fingerprint, self.cache.root)
        encoders = self.cache.encoders_by_name().items()
        self._encoders = {name: each.fused().to(self.cache.device) for name, each in encoders}
        self._computes_in = autocast_dtype(precision)
        self._model = model
        self._masked = "action_masks" in signature(model.predict).parameters

    @torch.no_grad()
    def __call__(self, frames: Tensor, *, deterministic: bool = True) -> TaskRecognition:
        """Recognize videos.

        Args:
            frames: ``(B, T, 3, S, S)`` uint8; `FeatureCache.frames` says how they are prepared.
            deterministic: Whether the agent takes its most probable action, or draws one.

        Returns:
            Predictions, where the agent looked, and what that cost.

        Raises:
            ValueError: If the frames are of another shape or dtype.
            CacheError: If features are not finite.
        """
        source = PixelSource(
            self.cache, self.classifier, self._encoders, frames, computes_in=self._computes_in
        )
        n_videos = len(frames)
        engine = FocusEngine(source)
        task = make_task(self.config, engine, source.frame_cost, n_videos, rewarded=False)
        engine.start(np.arange(n_videos))
        task.begin(np.ones(n_videos, dtype=bool))
        episodes = _no_draws(n_videos, task.timeline.n_decisions)
        begins, state = np.ones(n_videos, dtype=bool), None
        decisions = np.zeros(n_videos, dtype=np.int64)
        looks: list[Look] = []
        while source.running.any():
            masks = {"action_masks": task.masks()} if self._masked else {}
            actions, state = self._model.predict(
                observe(task), state, begins, deterministic=deterministic, **masks
            )
            decision = task.decide(task.read(actions), episodes)
            looks += _held(decision, source.running, looks)
            decisions += source.running
            source.running = source.running & ~decision.over
            begins = decision.over  # those that are over begin again, and nothing is computed
            if begins.any() and source.running.any():
                engine.start(engine.videos, begins)
                task.begin(begins)
        columns = {
            each.name: np.stack([getattr(look, each.name) for look in looks], axis=1)
            for each in fields(Look)
            if each.name not in ("logits", "confidence")
        }
        logits = torch.stack([look.logits for look in looks], dim=1)
        return TaskRecognition(
            logits=logits, decisions=decisions, encoder_gmacs=source.encoder_gmacs, **columns
        )


def _held(decision: Decision, running: NDArray[np.bool_], before: Sequence[Look]) -> list[Look]:
    """Return the looks of a decision; those of videos that are over repeat their last one."""
    held = []
    for look in decision.looks:
        if not running.all():
            last, goes_on = before[-1], torch.from_numpy(running).to(look.logits.device)
            look = Look(
                segments=np.where(running, look.segments, last.segments),
                options=np.where(running, look.options, -1),
                attended=look.attended & running,
                fed=look.fed & running,
                logits=torch.where(goes_on[:, None], look.logits, last.logits),
                confidence=torch.where(goes_on, look.confidence, last.confidence),
                gmacs=np.where(running, look.gmacs, last.gmacs),
            )
        held.append(look)
    return held


def _no_draws(n_videos: int, n_decisions: int) -> Episodes:
    """Return episodes in which nothing is drawn, for rewards are not asked for."""
    rows = np.arange(n_videos)
    return Episodes(rows, 0, n_decisions, np.zeros(1, dtype=np.int64), rows, n_videos, 0)
