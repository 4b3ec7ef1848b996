"""A policy that names one place for a whole video, trained by the exact gradient on a cache."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..envs import FeatureSource, FocusEngine, Source
from ..envs.engine.clips import TriedClips, try_clips
from ..recognizer import FitConfig, FitError, Fitted, Policy, policy_gmacs
from .gradient import PolicyOnFeatures, train_on_features
from .reading import read_segments
from .task_play import N_ENVS, TaskTrace


class ClipOutputs(NamedTuple):
    """What the stage gives for B videos.

    Attributes:
        policy: ``(B, K)`` logits of π over options.
        values: ``(B, K)``, the confidence on the true label that each option comes to.
        logits: ``(B, 1, C)`` of f_C at the end of the video, at π's most probable option.
    """

    policy: Tensor
    values: Tensor
    logits: Tensor


class ClipOnFeatures(PolicyOnFeatures):
    """π over the K options of a video, and what each of them comes to: no option is drawn.

    The loss is the expected confidence, negated: −Σ_k π(k) p_k. Its gradient is what REINFORCE
    estimates from draws, with any baseline.

    Source: ours. AdaFocus (arXiv:2105.03245) section 3.2 draws one option and compares it with
        another; a cache holds all of them, as one place serves the whole video (section 4.2).
    """

    policy: Policy

    def __init__(self, source: FeatureSource, policy: Policy) -> None:
        """Take what is fixed, and the policy; see `PolicyOnFeatures`."""
        super().__init__(source.cache, source.classifier, policy)
        self._engine = FocusEngine(source)
        self._options = np.arange(source.cache.n_options)

    def forward(self, videos: Tensor) -> ClipOutputs:
        """Return what π names, and what all options come to, in rows ``(B,)`` of the cache."""
        rows = videos.cpu().numpy()
        policy = self.policy(self.cache.stored_glance_maps(rows)).mean(dim=1)  # (B, K)
        with torch.no_grad():
            values, logits = self._values(rows)
        best = policy.argmax(dim=-1)
        picked = logits[torch.arange(len(rows), device=best.device), best][:, None]
        return ClipOutputs(policy, values, picked)

    def losses(self, outputs: ClipOutputs, labels: Tensor) -> Tensor:
        """Return the negated expected confidence ``(B,)``."""
        return -(outputs.policy.softmax(dim=-1) * outputs.values).sum(dim=-1)

    def logits(self, outputs: ClipOutputs) -> Tensor:
        """Return f_C's logits ``(B, 1, C)`` at π's most probable option."""
        return outputs.logits

    def _values(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Return the confidences ``(B, K)`` and logits ``(B, K, C)`` that options come to."""
        self._engine.start(rows)
        tried: TriedClips = try_clips(self._engine, np.tile(self._options, (len(rows), 1)))
        return tried.confidences, tried.logits


def train_clips(
    source: FeatureSource,
    policy: Policy,
    config: FitConfig,
    seed: Sequence[int],
    checkpoint: str | os.PathLike[str] | None = None,
) -> Fitted:
    """Train a policy in place; see `train_on_features`.

    Args:
        source: Cache and classifier.
        policy: Chooses among the options of the cache; on its device.
        config: As of `train_on_features`, like the rest.
        seed: Of the order of videos.
        checkpoint: See `fit`.

    Raises:
        CacheError, FitError, CheckpointError: As `train_on_features`; FitError also if a batch had
            a single video of one segment, which batch normalisation cannot normalise.
    """
    n_train = len(source.cache.split("train"))
    if source.cache.steps == 1 and (n_train % config.batch_size or config.batch_size) == 1:
        raise FitError(
            f"of {n_train} training videos in batches of {config.batch_size} the last one is "
            "alone, and batch norm needs two: choose a batch size that leaves more (batch_size of "
            "the learner)"
        )
    return train_on_features(ClipOnFeatures(source, policy), config, seed, checkpoint)


@torch.no_grad()
def read_clips(source: Source, videos: NDArray[np.int64], policy: Policy) -> TaskTrace:
    """Look in all segments of every video at the place that a policy names for it.

    Args:
        source: Features and classifier.
        videos: ``(B,)`` rows of the source.
        policy: Chooses among the options of the cache.
    """
    chosen, steps = [], np.arange(source.cache.steps)
    for start in range(0, len(videos), N_ENVS):
        some = videos[start : start + N_ENVS]
        rows, at = np.repeat(some, len(steps)), np.tile(steps, len(some))
        maps = source.glance_map(rows, at).unflatten(0, (-1, len(steps)))  # (B, T, h, w, G)
        chosen.append(policy.choose(maps)[0][:, 0].cpu().numpy())
    options = np.concatenate(chosen)
    return read_segments(source, videos, steps.tolist(), options, agent_gmacs=policy_gmacs(policy))
