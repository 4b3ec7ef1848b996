"""Metrics of per-step predictions: top-1, top-5, mean average precision, and their cost."""

from __future__ import annotations

from dataclasses import dataclass

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


def top_k_by_step(logits: Tensor, labels: Tensor, k: int) -> list[float]:
    """Return the top-k accuracy after each step, in [0, 1].

    A video is right if its label, or any of its labels, is among the k best classes; all are with
    k ≥ C. Of classes with equal logits the first is the better one, as in ``argmax``.

    Args:
        logits: ``(N, T, C)``.
        labels: ``(N,)`` int64; or ``(N, C)`` bool, the labels of each video, at least one.
        k: At least 1.

    Returns:
        T numbers.

    Raises:
        ValueError: If k, a shape or a dtype is not as above, a logit is not finite, a label not in
            ``[0, C)``, or a video without one.
    """
    logits, hot = _checked(logits, labels, "NTC")
    if k < 1:
        raise ValueError(f"expected k >= 1; got {k}: take 1 or 5")
    best = logits.masked_fill(~hot[:, None], -torch.inf).max(dim=-1, keepdim=True)
    before = torch.arange(logits.shape[-1]) < best.indices
    ahead = (logits > best.values) | ((logits == best.values) & before)
    accuracies: list[float] = (ahead.sum(dim=-1) < k).to(torch.float64).mean(dim=0).tolist()
    return accuracies


def accuracy_by_step(logits: Tensor, labels: Tensor) -> list[float]:
    """Return the top-1 accuracy after each step, in [0, 1]: `top_k_by_step` with k = 1."""
    return top_k_by_step(logits, labels, 1)


def average_precisions(scores: Tensor, labels: Tensor) -> Tensor:
    """Return the average precision of every class: scikit-learn's, which ranks ties as one.

    Args:
        scores: ``(N, C)``; each column ranks the videos for its class.
        labels: ``(N,)`` int64; or ``(N, C)`` bool, the labels of each video, at least one.

    Returns:
        ``(C,)`` float64 in [0, 1] on the CPU; NaN for a class that no video has.

    Raises:
        ValueError: As `top_k_by_step`.

    Source: ``sklearn.metrics.average_precision_score``: no interpolation.
    """
    from sklearn.metrics import average_precision_score  # takes a second to import

    scores, hot = _checked(scores, labels, "NC")
    values = torch.full((scores.shape[1],), torch.nan, dtype=torch.float64)
    for c in hot.any(dim=0).nonzero().flatten().tolist():
        values[c] = average_precision_score(hot[:, c].numpy(), scores[:, c].double().numpy())
    return values


def mean_average_precision(logits: Tensor, labels: Tensor, mode: str = "strict") -> float:
    """Return the mean average precision (mAP), in [0, 1]; videos are ranked by their softmax.

    ``strict`` is the mean of `average_precisions` over the classes that occur among the labels; it
    ranks by the float64 log-softmax, which has the order of the softmax without its rounding to 0.

    ``official`` is what the released code reports, to compare with published figures. Labels become
    consecutive ids first, so where a class does not occur the columns of all later classes meet the
    labels of another class; the mean is over all C columns, 0 for those left over: a perfect
    predictor gets less than 1. Videos with the same float32 softmax are ranked one by one, in their
    given order (here; the released code leaves it to an unstable sort). On splits with every class
    and no ties both modes are equal; on others use ``strict``.

    Args:
        logits: ``(N, C)``, after one step.
        labels: ``(N,)`` int64; or ``(N, C)`` bool, the labels of each video, at least one. The
            released code of AdaFocus scores only the first label outside FCVID: ``(N,)``.
        mode: ``strict`` or ``official``.

    Raises:
        ValueError: As `top_k_by_step`, or if the mode is unknown.

    Source: AdaFocus (arXiv:2105.03245) section 4.1, which reports mAP "following the common
        practice"; ``official`` follows its released code (and AR-Net's), in float64 after the
        softmax and as a fraction, not in percent. ``strict`` is ours.
    """
    logits, hot = _checked(logits, labels, "NC")
    if mode == "strict":
        return float(average_precisions(logits.double().log_softmax(dim=1), hot).nanmean())
    if mode != "official":
        raise ValueError(f"expected mode 'strict' or 'official'; got {mode!r}: take 'strict'")
    compacted = torch.zeros_like(hot)
    occurring = hot[:, hot.any(dim=0)]
    compacted[:, : occurring.shape[1]] = occurring
    order = logits.float().softmax(dim=1).argsort(dim=0, descending=True, stable=True)
    right = compacted.gather(0, order).double()
    precision = right.cumsum(dim=0) / torch.arange(1, len(right) + 1)[:, None]
    return float(((precision * right).sum(dim=0) / right.sum(dim=0).clamp(min=1)).mean())


@dataclass(frozen=True)
class Metrics:
    """Metrics after each of T steps, and what they cost; ``dataclasses.asdict`` gives plain JSON.

    Attributes:
        mode: Of the mean average precision.
        top1: Top-1 accuracy, in [0, 1].
        top5: Top-5 accuracy, in [0, 1].
        mean_average_precision: In [0, 1].
        gmacs: Mean GMACs spent per video up to and including the step; None where not known.
    """

    mode: str
    top1: list[float]
    top5: list[float]
    mean_average_precision: list[float]
    gmacs: list[float] | None

    @property
    def final(self) -> dict[str, float]:
        """The numbers after the last step, by name; ``gmacs`` only where they are known."""
        names = ("top1", "top5", "mean_average_precision", "gmacs")
        return {name: steps[-1] for name in names if (steps := getattr(self, name)) is not None}


def measure(
    logits: Tensor, labels: Tensor, gmacs: Tensor | None = None, mode: str = "strict"
) -> Metrics:
    """Measure predictions after every step.

    Args:
        logits: ``(N, T, C)``.
        labels: ``(N,)`` int64; or ``(N, C)`` bool, the labels of each video, at least one.
        gmacs: ``(N, T)``, cost of each video so far, with the step: it never falls.
        mode: Of `mean_average_precision`.

    Raises:
        ValueError: As `mean_average_precision`, or if ``gmacs`` is not as above.
    """
    return Metrics(
        mode,
        top_k_by_step(logits, labels, 1),
        top_k_by_step(logits, labels, 5),
        [mean_average_precision(step, labels, mode) for step in logits.unbind(dim=1)],
        None if gmacs is None else _mean_cost(gmacs, logits.shape[:2]),
    )


def _mean_cost(gmacs: Tensor, shape: torch.Size) -> list[float]:
    """Return the mean over the videos of what each spent so far, ``(N, T)``, after checking it."""
    if gmacs.shape != shape or not gmacs.is_floating_point():
        raise ValueError(
            f"expected floating-point gmacs (N, T) = {tuple(shape)}; got {gmacs.dtype} "
            f"{tuple(gmacs.shape)}: give each video's cost so far after each step"
        )
    gmacs = gmacs.detach().cpu().double()
    falls = gmacs.diff(dim=1, prepend=torch.zeros(len(gmacs), 1)) < 0
    wrong = (falls | ~gmacs.isfinite()).any(dim=1).nonzero().flatten().tolist()
    if wrong:
        raise ValueError(
            "expected finite gmacs that never fall from step to step, from 0 on; got "
            f"{gmacs[wrong[0]].tolist()!s:.80} for video {wrong[0]}: give the cost so far, the sum "
            "over the steps"
        )
    means: list[float] = gmacs.mean(dim=0).tolist()
    return means


def _checked(logits: Tensor, labels: Tensor, letters: str) -> tuple[Tensor, Tensor]:
    """Return logits or scores, and labels as ``(N, C)`` bool, on the CPU, after checking both."""
    shape = tuple(logits.shape)
    if len(shape) != len(letters) or 0 in shape or not logits.is_floating_point():
        raise ValueError(
            f"expected floating-point logits ({', '.join(letters)}), no size 0; got "
            f"{logits.dtype} {shape}: give those of at least one video"
        )
    logits, labels = logits.detach().cpu(), labels.detach().cpu()
    n_videos, n_classes = shape[0], shape[-1]
    wrong = (~logits.isfinite()).flatten(1).any(dim=1).nonzero().flatten().tolist()
    if wrong:
        raise ValueError(
            f"expected finite logits; got NaN or infinity for {len(wrong)} of {n_videos} videos, "
            f"first video {wrong[0]}: check the features and weights that they come from"
        )
    if labels.dtype == torch.bool and labels.shape == (n_videos, n_classes):
        wrong = (~labels.any(dim=1)).nonzero().flatten().tolist()
        if wrong:
            raise ValueError(
                f"expected at least one label per video; got none for {len(wrong)} of {n_videos} "
                f"videos, first video {wrong[0]}: leave them out"
            )
        return logits, labels
    if labels.dtype != torch.int64 or labels.shape != (n_videos,):
        raise ValueError(
            f"expected labels (N,) = ({n_videos},) int64 or (N, C) = ({n_videos}, {n_classes}) "
            f"bool; got {labels.dtype} {tuple(labels.shape)}: convert them"
        )
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= n_classes:
        raise ValueError(
            f"expected labels in [0, {n_classes}), the classes of the logits; got {low} to {high}: "
            "check the class list, or give (N, C) bool where labels were padded"
        )
    return logits, torch.nn.functional.one_hot(labels, n_classes).bool()
