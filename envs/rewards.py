"""Reward designs: pure functions from confidences to a number."""

from __future__ import annotations

from torch import Tensor


def increment_over_random(chosen: Tensor, random: Tensor) -> Tensor:
    """Return the confidence gained over a random patch, with the same history.

    ``r_t = p_t(chosen) - mean_k p_t(random_k)``

    Args:
        chosen: ``(B,)`` confidence after looking at the chosen patch.
        random: ``(B, k)`` confidences after looking at k random patches instead; all K of them
            give the exact expectation.

    Returns:
        ``(B,)`` in [-1, 1].

    Source: AdaFocus (arXiv:2105.03245) Eq. 7; the paper estimates the expectation with k = 1. A
        random patch is one of the grid's candidates, where the paper crops at any pixel.
    """
    return chosen - random.mean(dim=1)
