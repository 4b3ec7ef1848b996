"""Metrics of per-step predictions."""

from __future__ import annotations

import torch
from torch import Tensor


def confidence(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the softmax probability of the true label, ``p_ty``; of several, their mean.

    Args:
        logits: ``(B, ..., C)``.
        labels: ``(B,)`` int64; or ``(B, C)`` bool, the labels of each video, at least one.

    Returns:
        ``(B, ...)`` in [0, 1].

    Source: AdaFocus (arXiv:2105.03245) Eq. 4 and 7. For several labels the released code takes
        the first.
    """
    probabilities = logits.softmax(dim=-1)
    branches = (1,) * (logits.ndim - 2)
    if labels.dtype == torch.bool:
        share = labels / labels.sum(dim=1, keepdim=True)
        return (probabilities * share.reshape(len(labels), *branches, -1)).sum(dim=-1)
    index = labels.reshape(-1, *branches, 1).expand(*logits.shape[:-1], 1)
    return probabilities.gather(-1, index).squeeze(-1)


def accuracy_by_step(logits: Tensor, labels: Tensor) -> list[float]:
    """Return the top-1 accuracy after each step, in [0, 1].

    Args:
        logits: ``(N, T, C)``.
        labels: ``(N,)`` int64.

    Returns:
        T numbers.
    """
    correct = logits.argmax(dim=-1) == labels[:, None]
    accuracies: list[float] = correct.to(torch.float64).mean(dim=0).tolist()
    return accuracies
