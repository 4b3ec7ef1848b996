"""The engine: the arithmetic of B episodes at once, over a cache and a frozen classifier."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..feature_cache import FeatureCache
from ..recognizer import Classifier, confidence
from .rewards import increment_over_random


@dataclass(frozen=True)
class Step:
    """What one decision gave.

    Attributes:
        logits: ``(B, C)`` after the decision.
        confidence: ``(B,)`` probability of the true label.
        reward: ``(B,)``.
    """

    logits: Tensor
    confidence: Tensor
    reward: Tensor


class FocusEngine:
    """B episodes in step with each other: choose a patch of each frame, get the prediction.

    Attributes:
        cache: Where features come from.
        classifier: f_C, frozen.
        videos: ``(B,)`` rows being played.
        t: Index of the decision to be made next.
    """

    def __init__(self, cache: FeatureCache, classifier: Classifier) -> None:
        """Join a cache and a classifier that was trained on it."""
        self.cache = cache
        self.classifier = classifier
        self.videos: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self.t = 0

    def start(self, videos: NDArray[np.int64]) -> None:
        """Begin one episode of each video.

        Args:
            videos: ``(B,)`` rows of the cache.
        """
        self.videos = videos
        self.t = 0
        self._labels = self.cache.labels[videos]
        self._glance = self.cache.glance_vectors(videos)  # (B, T, G)
        self._state = self.classifier.start(len(videos))

    @torch.no_grad()
    def step(self, options: NDArray[np.int64], random: NDArray[np.int64] | None = None) -> Step:
        """Look at one patch of each video's frame and go on to the next.

        Args:
            options: ``(B,)`` chosen patches.
            random: ``(B, k)`` random patches to compare with; None compares with all K.

        Returns:
            The predictions and Eq. 7's rewards.
        """
        compared = slice(None) if random is None else random
        rows = self.videos if random is None else self.videos[:, None]
        chosen = self._local(self.videos, options)[:, None]  # (B, 1, L)
        states = self._branch(torch.cat([chosen, self._local(rows, compared)], dim=1))
        logits = self.classifier.logits(states, self.t)  # (B, 1 + k, C)
        confidences = confidence(logits, self._labels)
        self._state = states[:, 0]
        self.t += 1
        reward = increment_over_random(confidences[:, 0], confidences[:, 1:])
        return Step(logits[:, 0], confidences[:, 0], reward)

    @torch.no_grad()
    def counterfactuals(self) -> Tensor:
        """Return the confidences ``(B, K)`` that each candidate would give at this decision."""
        states = self._branch(self._local(self.videos, slice(None)))
        return confidence(self.classifier.logits(states, self.t), self._labels)

    @torch.no_grad()
    def advance(self, options: NDArray[np.int64]) -> Tensor:
        """Look at one patch of each video's frame and go on, without a reward.

        Args:
            options: ``(B,)`` patches.

        Returns:
            ``(B, C)`` logits after the decision.
        """
        self._state = self._branch(self._local(self.videos, options)[:, None])[:, 0]
        logits = self.classifier.logits(self._state, self.t)
        self.t += 1
        return logits

    def rollout(self, videos: NDArray[np.int64], options: NDArray[np.int64]) -> Tensor:
        """Play whole episodes with given options.

        Args:
            videos: ``(B,)`` rows.
            options: ``(B, D)`` patches.

        Returns:
            ``(B, D, C)`` logits after every decision.
        """
        self.start(videos)
        return torch.stack([self.advance(chosen) for chosen in options.T], dim=1)

    def _local(self, videos: NDArray[np.int64], options: NDArray[np.int64] | slice) -> Tensor:
        return self.cache.local_vectors(videos, self.t, options)

    def _branch(self, local: Tensor) -> Tensor:
        """Return the states ``(B, M, H)`` after each of M alternatives ``(B, M, L)``."""
        inputs = self.classifier.project(self._glance[:, self.t, None], local)
        return self.classifier.advance(self._state, inputs, self.t)
