"""A linear rule that says from the glance where to look: its arithmetic."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True, eq=False)
class GlanceRule:
    """Scores the options of a frame: the highest one is looked at.

    The score of an option is ``w·g + b``: g is what the glance shows at the option's place, w is
    the same at all places, and b is the option's own. With w = 0 it is a fixed box.

    Attributes:
        weights: w, ``(G,)`` float64.
        biases: b, ``(K,)`` float64, which sum to 0.
    """

    weights: Tensor
    biases: Tensor


@dataclass(frozen=True, eq=False)
class Moments:
    """What the least squares of frames need to know of them, whatever their number.

    All are sums over frames of differences from the mean of a frame's K options: what all options
    of a frame have in common says nothing about where to look.

    Attributes:
        n_frames: How many frames.
        gram: ``(G, G)`` float64, the glance at the places with itself.
        glance: ``(K, G)`` float64, the glance at the places.
        products: ``(G,)`` float64, the glance at the places with the gains.
        gains: ``(K,)`` float64, the gains of the options.
    """

    n_frames: int
    gram: Tensor
    glance: Tensor
    products: Tensor
    gains: Tensor

    def __add__(self, other: Moments) -> Moments:
        """Return the moments of all frames of both."""
        return Moments(
            self.n_frames + other.n_frames,
            self.gram + other.gram,
            self.glance + other.glance,
            self.products + other.products,
            self.gains + other.gains,
        )


def cell_shares(
    boxes_px: NDArray[np.int64], frame_px: int, height: int, width: int
) -> NDArray[np.float64]:
    """Return how much of each option lies in each cell of a glance map over the frame.

    Args:
        boxes_px: ``(K, 4)`` as (left, top, right, bottom), pixels of the frame.
        frame_px: Frame side S, pixels.
        height: h, rows of the map.
        width: w, columns of the map.

    Returns:
        ``(K, h, w)`` in [0, 1], with sum 1 over the cells of each option.
    """

    def overlaps(begin: NDArray[np.int64], end: NDArray[np.int64], n: int) -> NDArray[np.float64]:
        edges = np.linspace(0, frame_px, n + 1)
        covered = np.minimum(end[:, None], edges[1:]) - np.maximum(begin[:, None], edges[:-1])
        return np.asarray(covered.clip(min=0) / (end - begin)[:, None])

    left, top, right, bottom = boxes_px.T
    rows, columns = overlaps(top, bottom, height), overlaps(left, right, width)
    return np.asarray(rows[:, :, None] * columns[:, None, :])


def glance_at(maps: Tensor, shares: Tensor) -> Tensor:
    """Return what the glance shows at the options' places.

    Args:
        maps: ``(M, h, w, G)`` glance maps of M frames.
        shares: ``(K, h, w)``; see `cell_shares`.

    Returns:
        ``(M, K, G)``, the mean of the map over each option.
    """
    return shares.flatten(1) @ maps.flatten(1, 2)


def moments_of(glance: Tensor, gains: Tensor) -> Moments:
    """Return the moments of M frames.

    Args:
        glance: ``(M, K, G)``, what the glance shows at the options' places.
        gains: ``(M, K)``, what looking there is worth.
    """
    x, y = glance - glance.mean(dim=1, keepdim=True), gains - gains.mean(dim=1, keepdim=True)
    flat = x.flatten(0, 1)
    return Moments(
        len(x),
        (flat.T @ flat).double().cpu(),
        x.double().sum(dim=0).cpu(),
        (flat.T @ y.flatten()).double().cpu(),
        y.double().sum(dim=0).cpu(),
    )


def fitted_rule(moments: Moments, strength: float) -> GlanceRule:
    """Return the rule whose scores are nearest to the gains in least squares, with a ridge on w.

    b is not penalised. So the stronger the penalty, the nearer the rule is to a fixed box, the one
    with the largest mean gain.

    Args:
        moments: Of the frames that it is fitted to.
        strength: The penalty of a weight is this share of the squares that its channel has in
            these frames. ``inf`` gives w = 0.
    """
    n = moments.n_frames
    if math.isinf(strength):
        return GlanceRule(torch.zeros_like(moments.products), moments.gains / n)
    # With the best b for any w, (gains − glance·w) / n, what is left are equations of w alone.
    gram = moments.gram - moments.glance.T @ moments.glance / n
    products = moments.products - moments.glance.T @ moments.gains / n
    squares = gram.diagonal().clamp(min=0)
    constant = squares <= 1e-9 * squares.max()  # such a channel is the same everywhere: w = 0
    gram = gram.masked_fill(constant[:, None] | constant[None, :], 0.0)
    penalty = torch.where(constant, 1.0, strength * squares)
    weights = torch.linalg.solve(
        gram + penalty.diag(), torch.where(constant, 0.0, products).unsqueeze(1)
    )[:, 0]
    return GlanceRule(weights, (moments.gains - moments.glance @ weights) / n)


def chosen_options(glance: Tensor, weights: Tensor, biases: Tensor) -> Tensor:
    """Return the option with the highest score in each of M frames, by each of R rules.

    Args:
        glance: ``(M, K, G)``, what the glance shows at the options' places.
        weights: ``(R, G)`` of the rules.
        biases: ``(R, K)`` of the rules.

    Returns:
        ``(M, R)`` int64 in ``[0, K)``; the first of equals.
    """
    scores = glance @ weights.T + biases.T  # (M, K, R)
    return scores.argmax(dim=1)
