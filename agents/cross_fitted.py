"""Agents that are fitted to labelled videos and play on others: honest bounds for what is learned.

The videos are divided into folds; in each, what is played was fitted to the other folds. So what
they reach on all videos together is what a rule of their kind reaches on videos it has not seen.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import reduce
from itertools import combinations
from operator import add

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..envs import FocusEngine, Plan
from ..recognizer import Purpose, generator
from .fixed import RandomAgent, fixed_confidences
from .glance_rule import (
    GlanceRule,
    Moments,
    cell_shares,
    chosen_options,
    fitted_rule,
    glance_at,
    moments_of,
)

N_FOLDS = 5
# Penalties that are tried, the strongest first: where two are as good, it is taken.
STRENGTHS = (math.inf, 1000.0, 100.0, 10.0, 1.0, 0.1, 0.01)
_CHUNK = 256  # videos at a time: memory does not grow with B
_BLOCK_BYTES = 2**26  # of the glance at all places of some videos
_MOST_FRAMES = 4096  # that a rule is fitted to: more take long, and teach a linear rule little


class CrossFittedBoxAgent:
    """A fixed box, chosen on the other folds: the highest confidence on the true label there."""

    name, runs_policy, tries_all = "fixed_box", False, False

    def __init__(self, seed: int) -> None:
        """Draw the folds from ``seed``."""
        self._seed = seed

    def plan(self, engine: FocusEngine, videos: NDArray[np.int64]) -> Plan:
        """Return what is done in videos ``(B,)``, which it is cross-fitted to.

        Raises:
            ValueError: If there are fewer than two videos.
        """
        folds = video_folds(engine.cache.labels[videos].numpy(), self._seed)
        sure = fixed_confidences(engine, videos)
        options = np.empty(len(videos), dtype=np.int64)
        for fold in range(folds.max() + 1):
            options[folds == fold] = sure[folds != fold].mean(axis=0).argmax()
        return Plan.everywhere(np.repeat(options[:, None], engine.cache.steps, axis=1))


class GlanceRuleAgent:
    """A linear rule on the glance, fitted to the other folds; see `GlanceRule`.

    It is fitted to what each option adds to the confidence on the true label, beside the others of
    the frame, where the frames before it were looked at in random places. How strongly its weights
    are penalised is chosen within the other folds, each of which is left out in turn: by the
    confidence that its choices give. The strongest penalty makes it a fixed box.

    Source: Ours. The gains are the rewards of AdaFocus (arXiv:2105.03245) Eq. 7, of all options and
        with the exact expectation over random ones.
    """

    name, runs_policy, tries_all = "glance_rule", False, False

    def __init__(self, seed: int) -> None:
        """Draw the folds, and the random places of the frames before, from ``seed``."""
        self._seed = seed

    def plan(self, engine: FocusEngine, videos: NDArray[np.int64]) -> Plan:
        """Return what is done in videos ``(B,)``, which it is cross-fitted to.

        Raises:
            ValueError: If there are fewer than two videos.
        """
        folds = video_folds(engine.cache.labels[videos].numpy(), self._seed)
        frames = _Frames(engine, videos, self._seed)
        n_folds = int(folds.max()) + 1
        # To choose a rule, every n-th video of a fold is enough where there are very many.
        every, used = math.ceil(folds.size * frames.steps / _MOST_FRAMES), np.zeros_like(folds) > 0
        for fold in range(n_folds):
            used[np.flatnonzero(folds == fold)[::every]] = True
        parts = [
            reduce(add, (moments_of(*each) for _, each in frames.of((folds == fold) & used)))
            for fold in range(n_folds)
        ]
        strengths = _strengths(parts, frames, folds, used)
        options = np.empty((len(videos), frames.steps), dtype=np.int64)
        for fold in range(n_folds):
            rule = fitted_rule(_without(parts, fold), strengths[fold])
            for rows, (glance, _) in frames.of(folds == fold):
                chosen = _choices(glance, [rule])[:, 0]
                options[rows] = chosen.reshape(len(rows), -1).cpu().numpy()
        return Plan.everywhere(options)


def video_folds(labels: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Return the fold of each video, in [0, n): n is 5, or as many as there are videos.

    Sizes differ by one at most, and so do the numbers of a class that folds have.

    Args:
        labels: ``(B,)`` the first label of each video.
        seed: Seed of the draw of folds.

    Raises:
        ValueError: If there are fewer than two videos.
    """
    n = len(labels)
    if n < 2:
        raise ValueError(
            f"expected at least two videos, so that one is measured by what was fitted to another; "
            f"got {n}: give a split with more"
        )
    order = generator(Purpose.VIDEO_FOLDS, seed).permutation(n)
    order = order[np.argsort(labels[order], kind="stable")]
    folds = np.empty(n, dtype=np.int64)
    folds[order] = np.arange(n) % min(N_FOLDS, n)
    return folds


class _Frames:
    """The frames of videos: the glance at the places of all options, and the options' gains."""

    def __init__(self, engine: FocusEngine, videos: NDArray[np.int64], seed: int) -> None:
        cache = engine.cache
        height, width, channels = cache.map_shape
        shares = cell_shares(cache.boxes_px, cache.frames.frame_px, height, width)
        self.steps = cache.steps
        self._cache, self._videos = cache, videos
        self._shares = torch.from_numpy(shares).float().to(cache.device)
        self._gains = _gains(engine, videos, seed)
        width = max(channels, N_FOLDS * len(STRENGTHS))  # of what is computed of an option
        self._at_once = max(1, _BLOCK_BYTES // (4 * cache.steps * cache.n_options * width))

    def of(
        self, which: NDArray[np.bool_]
    ) -> Iterator[tuple[NDArray[np.int64], tuple[Tensor, Tensor]]]:
        """Yield rows of some videos, with the glance ``(M, K, G)`` and gains ``(M, K)``."""
        rows = np.flatnonzero(which)
        for start in range(0, len(rows), self._at_once):
            some = rows[start : start + self._at_once]
            maps = self._cache.glance_maps(self._videos[some]).flatten(0, 1)
            yield some, (glance_at(maps, self._shares), self._gains[some].flatten(0, 1))


def _gains(engine: FocusEngine, videos: NDArray[np.int64], seed: int) -> Tensor:
    """Return the confidence ``(B, T, K)`` that each option gives after random ones."""
    before = RandomAgent(seed).plan(engine, videos)
    gains = []
    for start in range(0, len(videos), _CHUNK):
        rows = slice(start, start + _CHUNK)
        gains.append(engine.rollout_counterfactuals(videos[rows], before.options[rows]).options)
    return torch.cat(gains)


def _strengths(
    parts: list[Moments], frames: _Frames, folds: NDArray[np.int64], used: NDArray[np.bool_]
) -> list[float]:
    """Return for each fold the penalty whose rules choose best in the others, each left out."""
    n = len(parts)
    if n < 3:  # nothing is left to fit to
        return [STRENGTHS[0]] * n
    rules = {
        pair: [fitted_rule(_without(parts, *pair), strength) for strength in STRENGTHS]
        for pair in combinations(range(n), 2)
    }
    worth = torch.zeros(n, len(STRENGTHS), dtype=torch.float64)
    for inner in range(n):
        outer = [fold for fold in range(n) if fold != inner]
        tried = [rule for fold in outer for rule in rules[min(fold, inner), max(fold, inner)]]
        for _, (glance, gains) in frames.of((folds == inner) & used):
            chosen_gains = gains.gather(1, _choices(glance, tried)).double().sum(dim=0)
            worth[outer] += chosen_gains.cpu().unflatten(0, (len(outer), -1))
    return [STRENGTHS[best] for best in worth.argmax(dim=1).tolist()]


def _choices(glance: Tensor, rules: list[GlanceRule]) -> Tensor:
    """Return what rules choose in frames: ``(M, R)``."""
    weights = torch.stack([rule.weights for rule in rules]).to(glance)
    biases = torch.stack([rule.biases for rule in rules]).to(glance)
    return chosen_options(glance, weights, biases)


def _without(parts: list[Moments], *left_out: int) -> Moments:
    return reduce(add, (part for fold, part in enumerate(parts) if fold not in left_out))
