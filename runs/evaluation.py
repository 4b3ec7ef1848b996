"""Plugging policies back: recognizers read the test videos, and are compared with each other."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from ..agents import (
    Agent,
    CentralAgent,
    GaussianAgent,
    LearnedAgent,
    OracleAgent,
    RandomAgent,
    TrueBoxAgent,
)
from ..envs import FeatureSource, FocusEngine
from ..feature_cache import FeatureCache, clips_of, read_many
from ..recognizer import (
    AdaptiveRecognizer,
    FrameCost,
    Recognition,
    accuracy_by_step,
    confidence,
)

BATCH = 16


@dataclass(frozen=True)
class Contender:
    """A row of the table.

    Attributes:
        name: Of the row.
        recognizer: What runs on the pixels.
        options: ``(B, T)`` patches to look at; None lets the recognizer's policy choose.
        gmacs_per_video: Its cost.
    """

    name: str
    recognizer: AdaptiveRecognizer
    options: NDArray[np.int64] | None
    gmacs_per_video: float


def compare_policies(
    cache: FeatureCache,
    learned: AdaptiveRecognizer,
    finetuned: dict[str, AdaptiveRecognizer],
    cost: FrameCost,
    boxes: pd.DataFrame | None,
    seed: int,
) -> tuple[dict[str, Any], NDArray[np.int64]]:
    """Measure every policy on the video files of the test split.

    Args:
        cache: The feature cache, with a test split.
        learned: The recognizer with π and the f_C that π was trained with.
        finetuned: The same with other f_C, by the name of their row.
        cost: Of the four networks on one frame.
        boxes: Table of true boxes (``path``, ``frame``, ``left``, …), where there are any.
        seed: Of the random and the Gaussian policy.

    Returns:
        The rows of ``results.json`` and the parity figures; and π's patches ``(B, T)``.
    """
    test = cache.split("test")
    if learned.policy is None:
        raise ValueError("the learned recognizer has no policy: assemble it with one")
    engine = FocusEngine(FeatureSource(cache, learned.classifier))
    agent = LearnedAgent(learned.policy)

    def gmacs(agent: Agent) -> float:
        patches = cache.n_options if agent.tries_all else 1
        return cost.per_video(cache.steps, policy=agent.runs_policy, patches=patches)

    fixed: list[Agent] = [RandomAgent(seed), CentralAgent(), GaussianAgent(seed)]
    bounds: list[Agent] = [OracleAgent()]
    if boxes is not None:
        bounds.insert(0, TrueBoxAgent(true_centers(cache, boxes)))

    def given(agent: Agent) -> Contender:
        return Contender(agent.name, learned, agent.options(engine, test), gmacs(agent))

    recognizers = {agent.name: learned, **finetuned}
    contenders = [
        *(given(agent) for agent in fixed),
        *(Contender(name, r, None, gmacs(agent)) for name, r in recognizers.items()),
        *(given(agent) for agent in bounds),
    ]
    recognitions = dict(
        zip((c.name for c in contenders), recognize_files(contenders, cache, test), strict=True)
    )
    labels = cache.labels[test]
    on_pixels = recognitions[agent.name]
    on_cache = engine.rollout(test, agent.options(engine, test))
    results = {
        "seed": seed,
        "split": "test",
        "n_videos": len(test),
        "steps": cache.steps,
        "policies": [row_of(c, recognitions[c.name], labels) for c in contenders],
        "parity": parity(on_pixels.logits, on_cache, labels),
    }
    return results, on_pixels.options.numpy()


def recognize_files(
    contenders: list[Contender], cache: FeatureCache, videos: NDArray[np.int64]
) -> list[Recognition]:
    """Run every contender on the video files of cached videos; each file is decoded once.

    Args:
        contenders: Who is compared.
        cache: Says where the files are and which frames are read.
        videos: ``(B,)`` rows of the cache.

    Returns:
        One recognition per contender, rows in the order of ``videos``.
    """
    clips = clips_of(cache.videos.iloc[videos])
    seen: list[list[Recognition]] = [[] for _ in contenders]
    decoded = iter(tqdm(read_many(clips, cache.frames), "plug-back", len(clips), unit="video"))
    start = 0
    while batch := [pixels for pixels, _ in islice(decoded, BATCH)]:
        rows = slice(start, start + len(batch))
        for contender, recognitions in zip(contenders, seen, strict=True):
            given = contender.options
            options = None if given is None else torch.from_numpy(given[rows])
            recognitions.append(contender.recognizer(torch.stack(batch), options))
        start += len(batch)
    return [
        Recognition(
            torch.cat([recognition.logits for recognition in recognitions]),
            torch.cat([recognition.options for recognition in recognitions]),
        )
        for recognitions in seen
    ]


def row_of(contender: Contender, recognition: Recognition, labels: Tensor) -> dict[str, Any]:
    """Return the row of ``results.json``: name, accuracy after T steps and after each, GMACs."""
    by_step = accuracy_by_step(recognition.logits, labels)
    return {
        "name": contender.name,
        "accuracy": by_step[-1],
        "accuracy_by_step": by_step,
        "gmacs_per_video": contender.gmacs_per_video,
    }


def parity(on_pixels: Tensor, on_cache: Tensor, labels: Tensor) -> dict[str, float]:
    """Compare two ways to the same predictions.

    Args:
        on_pixels: ``(B, T, C)`` logits of the recognizer.
        on_cache: ``(B, T, C)`` logits of the environment's engine.
        labels: ``(B,)``.

    Returns:
        ``max_abs_confidence_difference`` on the true label, and ``prediction_agreement``, the
        share of (video, step) pairs with the same top class.
    """
    difference = confidence(on_pixels, labels) - confidence(on_cache, labels)
    agreement = (on_pixels.argmax(dim=-1) == on_cache.argmax(dim=-1)).to(torch.float64)
    return {
        "max_abs_confidence_difference": float(difference.abs().max()),
        "prediction_agreement": float(agreement.mean()),
    }


def true_boxes(cache: FeatureCache, boxes: pd.DataFrame) -> pd.DataFrame:
    """Return the true box of every cached frame, ``N*T`` rows, video by video.

    Args:
        cache: The feature cache.
        boxes: ``path``, ``frame`` (index in the file), ``left``, ``top``, ``right``, ``bottom``
            (pixels), ``visible``.
    """
    frames = pd.DataFrame(
        {
            "path": np.repeat(cache.videos["path"].to_numpy(), cache.steps),
            "frame": cache.frame_indices(np.arange(cache.n_videos)).ravel(),
        }
    )
    return frames.merge(boxes, how="left", on=["path", "frame"], validate="many_to_one")


def true_centers(cache: FeatureCache, boxes: pd.DataFrame) -> NDArray[np.float64]:
    """Return the centres ``(N, T, 2)`` of the true boxes in the cached frames, (x, y) in pixels."""
    found = true_boxes(cache, boxes)
    x = (found["left"] + found["right"]).to_numpy() / 2
    y = (found["top"] + found["bottom"]).to_numpy() / 2
    return np.stack([x, y], axis=-1).reshape(cache.n_videos, cache.steps, 2)
