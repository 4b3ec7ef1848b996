"""A policy that names cubes, trained by gradient on a cache, and what it does in videos."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..envs import FeatureSource, FocusEngine, Source, interpolated
from ..envs.engine.interpolated import grid_of, nearest_options
from ..feature_cache import FeatureCache
from ..recognizer import (
    CubePolicy,
    Cubes,
    FitConfig,
    Fitted,
    confidence,
    cube_policy_gmacs,
)
from .gradient import PolicyOnFeatures, train_on_features
from .task_play import N_ENVS, TaskTrace


class CubesOnFeatures(PolicyOnFeatures):
    """π that names all cubes of a video at once, trained through interpolated features.

    f_C is fed the cubes in the order in which π names them. The gradient of the loss reaches π
    through the weights of the two frames around each cube, and of the four options around it in
    each of them.

    Source: AdaFocusV3 (arXiv:2209.13465) Eq. 5 and 6, whose gradient goes through the features of a
        larger cube; on stored features, and with networks that stay as they are, it is ours, and
        approximate: what f_C is fed in training lies between two frames.
    """

    policy: CubePolicy

    def forward(self, videos: Tensor) -> Tensor:
        """Return logits ``(B, D, C)`` of rows ``(B,)`` of the cache."""
        rows = videos.cpu().numpy()
        where = self.policy(self.cache.glance_maps(rows))  # (B, D, 3)
        logits: Tensor = self.classifier(*between_frames(self.cache, rows, where))
        return logits


def between_frames(
    cache: FeatureCache, videos: NDArray[np.int64], where: Tensor
) -> tuple[Tensor, Tensor]:
    """Return what a cache has at cubes of one segment: approximate, and differentiable.

    Args:
        cache: With one option group, of a grid of patches.
        videos: ``(B,)`` rows.
        where: ``(B, D, 3)`` centres (x, y, t) in [0, 1]; see `Cubes`.

    Returns:
        Glance vectors ``(B, D, G)``, between those of the two segments around each cube; and local
        vectors ``(B, D, L)``, see `interpolated`, likewise. Float32.
    """
    steps, where = cache.steps, where.to(cache.device)
    at = where[..., 2] * (steps - 1)  # (B, D)
    first = at.detach().floor().long().clamp(0, max(0, steps - 2))
    segments = torch.stack([first, (first + 1).clamp(max=steps - 1)], dim=-1)  # (B, D, 2)
    around, rows = segments.cpu().numpy(), videos[:, None, None]
    centers = where[..., None, :2].expand(-1, -1, 2, -1)  # of both segments
    local = interpolated(cache, rows, around, centers)  # (B, D, 2, L)
    glance = cache.glance_vectors(np.broadcast_to(rows, around.shape), around)  # (B, D, 2, G)
    rest = (at - first)[..., None].to(local.dtype)
    return (
        torch.lerp(glance[..., 0, :], glance[..., 1, :], rest),
        torch.lerp(local[..., 0, :], local[..., 1, :], rest),
    )


def train_cubes(
    source: FeatureSource,
    policy: CubePolicy,
    config: FitConfig,
    seed: Sequence[int],
    checkpoint: str | os.PathLike[str] | None = None,
) -> Fitted:
    """Train a policy in place; see `train_on_features`.

    Args:
        source: Cache and classifier.
        policy: Names cubes of videos of as many frames as the cache has segments; on the device of
            the cache.
        config: As of `train_on_features`, like the rest.
        seed: Of the order of videos.
        checkpoint: See `fit`.

    Raises:
        CacheError, FitError, CheckpointError: As `train_on_features`.
    """
    stage = CubesOnFeatures(source.cache, source.classifier, policy)
    return train_on_features(stage, config, seed, checkpoint)


@torch.no_grad()
def read_cubes(source: Source, videos: NDArray[np.int64], policy: CubePolicy) -> TaskTrace:
    """Glance at every video as a whole, then look at the cubes that a policy names.

    A cube is read in the frame that is nearest to it, without those that earlier cubes had. On a
    cache the features of its box are interpolated within the frame; on pixels the box is cut out.
    Rewards are 0, and the options of the trace are those that are nearest to the boxes.

    Args:
        source: Features and classifier.
        videos: ``(B,)`` rows of the source.
        policy: Names cubes.
    """
    parts = [_read(source, videos[i : i + N_ENVS], policy) for i in range(0, len(videos), N_ENVS)]
    every, sure, where, holds = (torch.cat(column) for column in zip(*parts, strict=True))
    cost, steps, n_cubes = source.frame_cost, source.cache.steps, policy.config.cubes
    local_gmacs = float(source.cache.option_gmacs[0])  # all options of a grid have one price
    before = steps * cost.glance_gmacs + cube_policy_gmacs(policy)
    columns = np.arange(steps)
    held = np.minimum(columns, n_cubes - 1)  # after the last cube all stays as it was
    looks = np.tile(columns < n_cubes, (len(videos), 1))  # (B, T)
    options = nearest_options(grid_of(source.cache), where[..., :2].numpy())
    return TaskTrace(
        videos=videos,
        segments=np.where(looks, holds.numpy()[:, held], -1),
        options=options[:, held],
        named=looks,
        attended=looks,
        fed=looks.copy(),
        logits=every[:, torch.from_numpy(held)],  # (B, T, C)
        gmacs=np.tile(
            before + (held + 1) * (local_gmacs + cost.classifier_gmacs), (len(videos), 1)
        ),
        decisions=np.ones(len(videos), dtype=np.int64),
        returns=np.zeros(len(videos)),
        confidence=sure.double().numpy(),
        correct=(every[:, -1].argmax(dim=-1) == source.labels[videos].cpu()).numpy(),
    )


def _read(source: Source, videos: NDArray[np.int64], policy: CubePolicy) -> tuple[Tensor, ...]:
    """Return logits ``(B, D, C)``, final confidences ``(B,)``, centres and segments ``(B, D)``."""
    engine, logits = FocusEngine(source), []
    grid, steps = grid_of(source.cache), source.cache.steps
    engine.start(videos)
    rows, every = np.repeat(videos, steps), np.tile(np.arange(steps), len(videos))
    where = policy(source.glance_map(rows, every).unflatten(0, (-1, steps)))  # (B, D, 3)
    cubes = Cubes(grid.frame_px, grid.patch_px, steps)
    holds = cubes.frames_at(where, distinct=True)[..., 0].cpu()  # (B, D)
    for d in range(where.shape[1]):
        engine.commit(engine.try_boxes(holds[:, d].numpy(), where[:, d, None, :2]))
        logits.append(engine.logits.cpu())
    sure = confidence(engine.logits.cpu(), source.labels[videos].cpu())
    return torch.stack(logits, dim=1), sure, where.cpu(), holds
