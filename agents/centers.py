"""A policy that names centres, trained by gradient on a cache, and what it does in videos."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..envs import FeatureSource, FocusEngine, Source, interpolated
from ..envs.engine.interpolated import grid_of, nearest_options
from ..recognizer import Boxes, FitConfig, Fitted, Policy, confidence, policy_gmacs
from .gradient import PolicyOnFeatures, train_on_features
from .task_play import N_ENVS, TaskTrace


class CentersOnFeatures(PolicyOnFeatures):
    """π that names a centre in every segment, trained through interpolated features.

    The gradient of the loss reaches π through the weights of the four options around each centre.

    Source: AdaFocusV2 (arXiv:2112.14238) section 3.2, whose gradient goes through pixels; on stored
        features, and with networks that stay as they are, it is ours, and approximate.
    """

    policy: Policy

    def forward(self, videos: Tensor) -> Tensor:
        """Return logits ``(B, T, C)`` of rows ``(B,)`` of the cache."""
        rows = videos.cpu().numpy()
        centers, _ = self.policy.choose(self.cache.stored_glance_maps(rows))  # (B, T, 2)
        segments = np.arange(self.cache.steps)
        local = interpolated(self.cache, rows[:, None], segments[None], centers)  # (B, T, L)
        logits: Tensor = self.classifier(self.cache.glance_vectors(rows), local)
        return logits


def train_centers(
    source: FeatureSource,
    policy: Policy,
    config: FitConfig,
    seed: Sequence[int],
    checkpoint: str | os.PathLike[str] | None = None,
) -> Fitted:
    """Train a policy in place; see `train_on_features`.

    Args:
        source: Cache and classifier.
        policy: Names centres; on the device of the cache.
        config: As of `train_on_features`, like the rest.
        seed: Of the order of videos.
        checkpoint: See `fit`.

    Raises:
        CacheError, FitError, CheckpointError: As `train_on_features`.
    """
    stage = CentersOnFeatures(source.cache, source.classifier, policy)
    return train_on_features(stage, config, seed, checkpoint)


# Of the index of a segment, the centres (B, 1, 2) in it; asked for each segment in order.
_Centers = Callable[[int], Tensor]


@torch.no_grad()
def read_centers(source: Source, videos: NDArray[np.int64], policy: Policy) -> TaskTrace:
    """Look in every segment of every video where a policy says.

    On a cache the features of a box are interpolated; on pixels the box is cut out. Rewards are 0,
    and the options of the trace are those that are nearest to the boxes.

    Args:
        source: Features and classifier.
        videos: ``(B,)`` rows of the source.
        policy: Names centres.
    """

    def named(part: slice) -> _Centers:
        some, state = videos[part], None

        def name(t: int) -> Tensor:
            nonlocal state
            maps = source.glance_map(some, np.full(len(some), t))[:, None]  # (B, 1, h, w, G)
            centers, _, state = policy.advance(maps, state)
            return centers

        return name

    return _trace(source, videos, named, policy_gmacs(policy))


@torch.no_grad()
def read_boxes(source: Source, videos: NDArray[np.int64], centers: Tensor) -> TaskTrace:
    """Look in every segment of every video at a known place, for which no policy is paid.

    Args:
        source: Features and classifier.
        videos: ``(B,)`` rows of the source.
        centers: ``(B, T, 2)`` (x, y) in [0, 1]; see `Boxes`.
    """
    return _trace(source, videos, lambda part: lambda t: centers[part, t : t + 1].float(), 0.0)


def _trace(
    source: Source,
    videos: NDArray[np.int64],
    named: Callable[[slice], _Centers],
    agent_gmacs: float,
) -> TaskTrace:
    """Look where it is said; ``named`` says it for some of the videos."""
    parts = []
    for start in range(0, len(videos), N_ENVS):
        part = slice(start, start + N_ENVS)
        parts.append(_read(source, videos[part], named(part)))
    every, sure, centers = (torch.cat(column) for column in zip(*parts, strict=True))
    cost, steps, grid = source.frame_cost, source.cache.steps, grid_of(source.cache)
    local_gmacs = float(source.cache.option_gmacs[0])  # all options of a grid have one price
    each = cost.glance_gmacs + agent_gmacs + local_gmacs + cost.classifier_gmacs
    everywhere = np.ones((len(videos), steps), dtype=bool)
    return TaskTrace(
        videos=videos,
        segments=np.tile(np.arange(steps), (len(videos), 1)),
        options=nearest_options(grid, centers.numpy()),
        named=everywhere,
        attended=everywhere,
        fed=everywhere.copy(),
        logits=every,
        gmacs=np.tile(np.arange(1, steps + 1) * each, (len(videos), 1)),
        decisions=np.full(len(videos), steps),
        returns=np.zeros(len(videos)),
        confidence=sure.double().numpy(),
        correct=(every[:, -1].argmax(dim=-1) == source.labels[videos].cpu()).numpy(),
        boxes_px=Boxes(grid.frame_px, grid.patch_px).boxes_at(centers).numpy(),
    )


def _read(source: Source, videos: NDArray[np.int64], name: _Centers) -> tuple[Tensor, ...]:
    """Return logits ``(B, T, C)``, final confidences ``(B,)`` and centres ``(B, T, 2)``."""
    engine, logits, named = FocusEngine(source), [], []
    engine.start(videos)
    for t in range(source.cache.steps):
        segments = np.full(len(videos), t)
        centers = name(t)
        engine.commit(engine.try_boxes(segments, centers))
        logits.append(engine.logits.cpu())
        named.append(centers[:, 0].cpu())
    sure = confidence(engine.logits.cpu(), source.labels[videos].cpu())
    return torch.stack(logits, dim=1), sure, torch.stack(named, dim=1)
