"""Rewards: pure functions from confidences on the true label to a number per episode."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
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
        random patch is one of the K options, where the paper crops at any pixel.
    """
    return chosen - random.mean(dim=1)


def increments(chosen: Tensor, previous: Tensor) -> Tensor:
    """Return the confidence gained over the step before: ``r_t = p_t - p_{t-1}``, ``p_{-1} = 0``.

    Args:
        chosen: ``(B,)`` confidence after the decision.
        previous: ``(B,)`` confidence before it, as it came about; 0 at the first decision.

    Returns:
        ``(B,)`` in [-1, 1].

    Source: AdaFocus (arXiv:2105.03245) Table 5, "increments reward"; ``p_{-1} = 0`` is the released
        code's. In AdaFocus+ ``previous`` is the realised p′ of Eq. 9 (our choice).
    """
    return chosen - previous


def padding(chosen: Tensor, skip: Tensor) -> Tensor:
    """Return the confidence gained over looking at nothing: ``r_t = p_t(chosen) - p_t(skip)``.

    Args:
        chosen: ``(B,)`` confidence after looking at the chosen patch.
        skip: ``(B,)`` confidence with a zero local vector instead.

    Returns:
        ``(B,)`` in [-1, 1].

    Source: the released AdaFocus code names this design, but has no working implementation.
    """
    return chosen - skip


def skip_gain(look: Tensor, skip: Tensor, attended: Tensor, penalty: float | Tensor) -> Tensor:
    """Return π′'s reward: what looking gained, less its price; nothing where the frame was skipped.

    ``r'_t = p'_t(..., 1) - p'_t(..., 0) - penalty`` where ``b_t = 1``, else 0.

    Args:
        look: ``(B,)`` confidence after looking at the chosen patch.
        skip: ``(B,)`` confidence after looking at nothing.
        attended: ``(B,)`` bool, b_t.
        penalty: λ·P², or a price per GMAC times the GMACs of f_L on a patch;
            ``(B,)``, or one for all.

    Returns:
        ``(B,)`` at most 1.

    Source: AdaFocus (arXiv:2105.03245) Eq. 10; the price per GMAC is ours.
    """
    return (look - skip - penalty).where(attended, 0.0)


def final(logits: Tensor, labels: Tensor, last: Tensor) -> Tensor:
    """Return 1 where an episode ends with the right prediction, 0 elsewhere.

    Args:
        logits: ``(B, C)`` after the decision.
        labels: ``(B,)`` int64, the true class; or ``(B, C)`` bool, all true classes.
        last: ``(B,)`` bool, whether the episode ends with the decision.

    Returns:
        ``(B,)`` in {0, 1}.

    Source: FrameGlimpses (arXiv:1511.06984), whose glimpses are rewarded at the end.
    """
    predicted = logits.argmax(dim=-1)
    if labels.dtype == torch.bool:
        correct = labels.gather(1, predicted[:, None])[:, 0]
    else:
        correct = predicted == labels
    return (correct & last).to(logits.dtype)


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the probability of the true class less that of the most probable other one.

    Args:
        logits: ``(B, C)``, at least two classes.
        labels: ``(B,)`` int64; or ``(B, C)`` bool, of which the most probable true class counts.

    Returns:
        ``(B,)`` in [-1, 1].
    """
    probabilities = logits.softmax(dim=-1)
    true = labels
    if labels.dtype != torch.bool:
        true = torch.nn.functional.one_hot(labels, logits.shape[-1]).bool()
    best_true = probabilities.masked_fill(~true, 0.0).amax(dim=-1)
    return best_true - probabilities.masked_fill(true, 0.0).amax(dim=-1)


def margin_gain(margins: Tensor, best: Tensor) -> Tensor:
    """Return by how much margins exceed the best so far: ``max(0, m_t - max_{t'<t} m_t')``.

    Args:
        margins: ``(B,)`` after the decision.
        best: ``(B,)`` the largest before it; 0 at the first decision.

    Returns:
        ``(B,)`` in [0, 1].

    Source: AdaFrame (arXiv:1811.12432): only a prediction that is better than all before pays.
    """
    return (margins - best).clamp(min=0.0)


def regret(
    confidences: Tensor,
    options: Tensor | NDArray[np.int64],
    attended: Tensor | NDArray[np.bool_] | None = None,
    skip: Tensor | None = None,
) -> Tensor:
    """Return how far below the best alternative of its step a decision stays.

    Args:
        confidences: ``(..., K)`` of all options; see `Counterfactuals`.
        options: ``(...)`` int64 in ``[0, K)``, what was chosen; any where nothing was attended.
        attended: ``(...)`` bool, whether it was looked at. None: everywhere.
        skip: ``(...)`` confidences without a look, if that is one of the alternatives.

    Returns:
        ``(...)`` in [0, 1]; 0 for what the greedy oracle chooses.

    Raises:
        ValueError: If something was not looked at, and there are no confidences without a look.
    """
    device = confidences.device
    index = torch.as_tensor(options, device=device)
    chosen, best = confidences.gather(-1, index[..., None]).squeeze(-1), confidences.amax(dim=-1)
    looks = None if attended is None else torch.as_tensor(attended, device=device)
    if skip is None:
        if looks is not None and not looks.all():
            raise ValueError(
                "expected looks everywhere; got decisions without one: give `skip` as well, the "
                "confidences without a look"
            )
        return best - chosen
    if looks is not None:
        chosen = torch.where(looks, chosen, skip)
    return best.maximum(skip) - chosen
