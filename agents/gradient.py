"""A policy trained by gradient on a cache: encoders and f_C are fixed."""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..feature_cache import FeatureCache
from ..feature_cache.reading.samples import targets
from ..recognizer import (
    Classifier,
    FitConfig,
    Fitted,
    Stage,
    TensorSamples,
    fit,
    uniform_draws,
    weights_digest,
)
from ..recognizer.stages.stage import keep_fixed


class PolicyOnFeatures(Stage):
    """π through features of a cache. Network: ``policy``.

    A subclass says in `forward` what f_C is fed: from rows ``(B,)`` of the cache to logits
    ``(B, D, C)``. The loss is that of f_C after every step.
    """

    def __init__(self, cache: FeatureCache, classifier: Classifier, policy: nn.Module) -> None:
        """Take what is fixed, and the policy.

        Args:
            cache: With one option group.
            classifier: f_C, trained on that cache; it is copied.
            policy: Is trained.
        """
        super().__init__()
        self.policy = policy
        self.classifier = copy.deepcopy(classifier).to(cache.device).requires_grad_(False)
        self.cache = cache
        self.train(False)

    @property
    def networks(self) -> dict[str, nn.Module]:
        """What is trained, by name."""
        return {"policy": self.policy}

    def train(self, mode: bool = True) -> PolicyOnFeatures:
        """Put π into training mode; f_C stays as it is."""
        super().train(mode)
        keep_fixed(self.classifier)
        return self


def train_on_features(
    stage: PolicyOnFeatures,
    config: FitConfig,
    seed: Sequence[int],
    checkpoint: str | os.PathLike[str] | None = None,
    *,
    draws: bool = False,
) -> Fitted:
    """Train the policy of a stage in place on the split ``train``; the split ``val`` selects.

    Args:
        stage: Holds cache, classifier and policy.
        config: How it is trained; ``lr`` names the network ``policy``.
        seed: Seed of the order of videos.
        checkpoint: See `fit`.
        draws: Whether the stage is given uniform draws too, ``(B, T, 1)``, of each video and epoch.

    Raises:
        CacheError: If the cache lacks a split.
        FitError, CheckpointError: As `fit`.
    """
    cache = stage.cache

    def samples(split: str) -> TensorSamples:
        videos = cache.split(split)
        labels = targets(cache.videos["labels"].iloc[videos], cache.n_classes)
        rows = torch.from_numpy(videos)

        def load(epoch: int, some: Tensor) -> tuple[Tensor, ...]:
            if not draws:
                return rows[some], labels[some]
            drawn = uniform_draws(some.tolist(), cache.steps, [*seed, epoch], 1)
            return rows[some], drawn, labels[some]

        return TensorSamples(len(videos), load)

    return fit(
        stage,
        samples("train"),
        samples("val"),
        config,
        name="π by gradient",
        seed=seed,
        checkpoint=checkpoint,
        identity=f"{cache.fingerprint} {weights_digest(stage.classifier)}",
    )
