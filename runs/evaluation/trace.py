"""What a policy did in the videos of a split, and what it cost: measured on the cache."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...agents import Agent
from ...envs import FocusEngine
from ...envs.records.record import shown_options
from ...feature_cache import FeatureCache
from ...recognizer import (
    FocusgymError,
    FrameCost,
    confidence,
    in_words,
    mean_average_precision,
)
from ...recognizer.files.atomic import whole_file
from ...recognizer.files.declared import read_npz

_CHUNK = 256  # videos at a time: memory does not grow with B


class PlayedError(FocusgymError):
    """What a policy did cannot be read; the message says why and what to do."""


@dataclass(frozen=True, eq=False)
class Played:
    """What a policy did in B videos.

    Attributes:
        names: ``(B,)`` of the videos, as the cache's table says.
        labels: ``(B,)`` int64, the (first) true class.
        predictions: ``(B, T)`` int64, the most probable class after each frame.
        correct: ``(B, T)`` bool, whether that is the true class, or one of several.
        confidences: ``(B, T)`` float32, on the true class, after each frame; of several, the mean.
        options: ``(B, T)`` int64 in ``[0, K)``. Where f_L did not run, the option that was named
            all the same, or −1 if none was.
        attended: ``(B, T)`` bool, whether f_L ran; of an AF network ``(B, T·gates)``, whether the
            focal branch of each block ran.
        gmacs: ``(B, T)`` float64, multiply-adds spent on the video up to and including each frame.
        glances: How many of the T predictions, the first ones, are made without a decision where to
            look: 1 where one comes after the glance at the whole video, else 0.
        precision: Mean average precision of the last predictions, in [0, 1], where videos have
            several labels; else NaN.
    """

    names: NDArray[np.str_]
    labels: NDArray[np.int64]
    predictions: NDArray[np.int64]
    correct: NDArray[np.bool_]
    confidences: NDArray[np.float32]
    options: NDArray[np.int64]
    attended: NDArray[np.bool_]
    gmacs: NDArray[np.float64]
    glances: int = 0
    precision: float = math.nan

    def rows(self, which: NDArray[np.int64] | slice) -> Played:
        """Return what was done in some of the videos."""
        arrays = {name: getattr(self, name)[which] for name in _ARRAYS}
        return replace(self, **arrays, precision=math.nan)  # which is of all videos together

    @property
    def accuracy_by_step(self) -> NDArray[np.float64]:
        """``(T,)``: share of the videos that are right after each frame."""
        return np.asarray(self.correct.mean(axis=0, dtype=np.float64))

    @property
    def gmacs_by_step(self) -> NDArray[np.float64]:
        """``(T,)``: mean multiply-adds per video up to and including each frame, in G."""
        return np.asarray(self.gmacs.mean(axis=0))

    @property
    def kept_share(self) -> float:
        """Share of all decisions, such as one for a frame or a cube, in which f_L was run."""
        return float(self.attended[:, self.glances :].mean())

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write it as an ``.npz`` file, which appears complete, or not at all."""
        arrays = {each.name: getattr(self, each.name) for each in fields(self)}
        with whole_file(Path(path)) as beside, beside.open("wb") as file:
            np.savez_compressed(file, **arrays)


_NUMBERS = ("glances", "precision")
_ARRAYS = tuple(each.name for each in fields(Played) if each.name not in _NUMBERS)


def read_played(path: str | os.PathLike[str]) -> Played:
    """Read what `Played.write` wrote.

    Raises:
        PlayedError: If the file is not there, or is no such file.
    """
    try:
        return _played(read_npz(path, (*_ARRAYS, *_NUMBERS)))
    except (OSError, ValueError) as error:
        raise PlayedError(
            f"{Path(path)} is not readable as what a policy did ({in_words(error)}): evaluate the "
            "run again"
        ) from error


_ROUND = 1e-6
_LEAST = {"labels": 0, "predictions": 0, "confidences": 0, "options": -1, "gmacs": 0}
_KINDS = {"names": "U", "correct": "b", "attended": "b", "confidences": "f", "gmacs": "f"}


def _played(arrays: Mapping[str, NDArray[Any]]) -> Played:
    """Return what arrays of a file say, after checking their types and shapes.

    Raises:
        ValueError: If one is missing, or of another type or shape than `Played` says, there are no
            videos or no steps, or a number is out of its range.
    """
    if missing := [name for name in (*_ARRAYS, *_NUMBERS) if name not in arrays]:
        raise ValueError(f"{missing[0]!r} is missing")
    for name in _ARRAYS:
        kind, ndim = _KINDS.get(name, "i"), 1 if name in ("names", "labels") else 2
        array = arrays[name]
        if array.dtype.kind != kind or array.ndim != ndim or len(array) != len(arrays["names"]):
            raise ValueError(f"{name} has values of {array.dtype} and shape {array.shape}")
    steps = arrays["predictions"].shape
    if not all(steps) or not arrays["attended"].size:
        raise ValueError(
            f"there are no videos, steps or looks: predictions has the shape {steps}, attended "
            f"{arrays['attended'].shape}"
        )
    for name in ("correct", "confidences", "gmacs"):
        if arrays[name].shape != steps:
            raise ValueError(f"{name} has the shape {arrays[name].shape}, predictions {steps}")
    for name, least in _LEAST.items():
        if not (np.isfinite(arrays[name]) & (arrays[name] >= least)).all():
            raise ValueError(f"{name} has values that are no finite numbers of at least {least}")
    if (arrays["confidences"] > 1 + _ROUND).any():
        raise ValueError("confidences has values above 1")
    glances, precision = arrays["glances"], arrays["precision"]
    if glances.dtype.kind != "i" or glances.shape or not 0 <= glances <= steps[1]:
        raise ValueError(f"glances must be a number of steps; got {glances!s:.80}")
    if precision.dtype.kind != "f" or precision.shape or precision < 0 or precision > 1 + _ROUND:
        raise ValueError(f"precision must be a number in [0, 1]; got {precision!s:.80}")
    return Played(
        **{name: arrays[name] for name in _ARRAYS},
        glances=int(glances),
        precision=float(precision),
    )


def precision_of(logits: Tensor, labels: Tensor) -> float:
    """Return the mean average precision of logits ``(B, C)``; NaN where labels are ``(B,)``."""
    return mean_average_precision(logits, labels) if labels.ndim == 2 else math.nan


def all_labels(cache: FeatureCache, videos: NDArray[np.int64]) -> Tensor:
    """Return labels ``(B,)`` of cached videos; or ``(B, C)`` bool, if some have several."""
    several = cache.label_matrix[videos]
    return several if int(several.sum()) > len(videos) else cache.labels[videos]


@torch.no_grad()
def play(
    engine: FocusEngine, agent: Agent, videos: NDArray[np.int64], cost: FrameCost
) -> tuple[Played, Tensor]:
    """Let an agent decide in cached videos, and measure.

    Args:
        engine: Over the cache and f_C.
        agent: The agent that decides.
        videos: ``(B,)`` rows of the cache.
        cost: Of every network on a frame; π's share is charged if the agent runs it. An agent that
            tries all K options is charged f_L and f_C for each.

    Returns:
        What it did; and the logits ``(B, T, C)`` after every frame.
    """
    cache = engine.cache
    plan = agent.plan(engine, videos)
    parts = [slice(start, start + _CHUNK) for start in range(0, len(videos), _CHUNK)]
    logits = torch.cat(
        [engine.rollout(videos[s], plan.options[s], plan.attended[s]).cpu() for s in parts]
    )
    predictions = logits.argmax(dim=-1)
    labels = all_labels(cache, videos)
    tries = cache.n_options if agent.tries_all else 1
    frame = cost.of_video(1, policy=agent.runs_policy, patches=tries, kept_share=0.0).total_gmacs
    spent = frame + plan.attended * (tries * cost.local_gmacs)
    played = Played(
        names=cache.videos["name"].to_numpy()[videos].astype(np.str_),
        labels=cache.labels[videos].numpy().astype(np.int64),
        predictions=predictions.numpy(),
        correct=cache.label_matrix[videos].gather(1, predictions).numpy(),
        confidences=confidence(logits, labels).float().numpy(),
        options=plan.options if plan.named is None else shown_options(plan.options, plan.named),
        attended=plan.attended,
        gmacs=np.cumsum(spent, axis=1),
        precision=precision_of(logits[:, -1], labels),
    )
    return played, logits
