"""Plugging policies back: the recognizer reads video files, and is compared with the environment."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from ..feature_cache import FeatureCache, FrameConfig, read_many
from ..recognizer import AdaptiveRecognizer, Recognition, accuracy_by_step, confidence

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
    frames = FrameConfig(**cache.manifest["depends_on"]["frames"])
    paths = cache.videos["path"].iloc[videos].tolist()
    seen: list[list[Recognition]] = [[] for _ in contenders]
    progress = iter(tqdm(read_many(paths, frames), "plug-back", len(paths), unit="video"))
    start = 0
    while batch := [pixels for pixels, _ in islice(progress, BATCH)]:
        rows = slice(start, start + len(batch))
        for contender, outcomes in zip(contenders, seen, strict=True):
            given = contender.options
            options = None if given is None else torch.from_numpy(given[rows])
            outcomes.append(contender.recognizer(torch.stack(batch), options))
        start += len(batch)
    return [
        Recognition(
            torch.cat([outcome.logits for outcome in outcomes]),
            torch.cat([outcome.options for outcome in outcomes]),
        )
        for outcomes in seen
    ]


def row_of(contender: Contender, outcome: Recognition, labels: Tensor) -> dict[str, object]:
    """Return the row of ``results.json``: name, accuracy after T steps and after each, GMACs."""
    by_step = accuracy_by_step(outcome.logits, labels)
    return {
        "name": contender.name,
        "accuracy": by_step[-1],
        "accuracy_by_step": by_step,
        "gmacs_per_video": contender.gmacs_per_video,
    }


def parity(on_pixels: Tensor, on_cache: Tensor, labels: Tensor) -> dict[str, float]:
    """Compare two ways to the same predictions, logits ``(B, T, C)`` each.

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
