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
        k: How many of the most probable classes count, at least 1.

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
    """Return the average precision of every class; videos with equal scores have one rank.

    Args:
        scores: ``(N, C)``; each column ranks the videos for its class.
        labels: ``(N,)`` int64; or ``(N, C)`` bool, the labels of each video, at least one.

    Returns:
        ``(C,)`` float64 in [0, 1] on the CPU; NaN for a class that no video has.

    Raises:
        ValueError: As `top_k_by_step`.

    Source: the arithmetic of ``sklearn.metrics.average_precision_score`` (no interpolation), here
        for all classes at once.
    """
    return _average_precisions(*_checked(scores, labels, "NC"), ties_as_one=True)


def mean_average_precision(logits: Tensor, labels: Tensor, mode: str = "strict") -> float:
    """Return the mean average precision (mAP), in [0, 1]; videos are ranked by their softmax.

    ``strict`` is the mean of `average_precisions` over the classes that occur among the labels; it
    ranks by the float64 log-softmax: the softmax without the ties that its rounding makes.

    ``official`` is the released code's, to compare with published figures. Labels become
    consecutive ids first: if a class does not occur, each later column is scored on the labels of
    another class, and the mean is over all C columns, 0 for those left over, so that a perfect
    predictor gets less than 1. Equal float32 softmaxes are ranked one by one, in the given order of
    the videos (the released code's sort leaves it open). With every class and no ties both modes
    are equal; on splits without some class use ``strict``. Of an averaging f_C the released code
    takes the softmax of probabilities: for its figure give ``logits.softmax(-1)`` as logits.

    Args:
        logits: ``(N, C)``, after one step.
        labels: ``(N,)`` int64; or ``(N, C)`` bool, the labels of each video, at least one. The
            released code of AdaFocus scores only the first label outside FCVID: ``(N,)``.
        mode: ``strict`` or ``official``.

    Raises:
        ValueError: As `top_k_by_step`, or if the mode is unknown.

    Source: AdaFocus (arXiv:2105.03245) section 4.1, which defines no mAP; ``official`` is its
        released code's (and AR-Net's), but summed in float64 and not in percent; ``strict`` leaves
        out the classes that do not occur, as mmaction2 does.
    """
    logits, hot = _checked(logits, labels, "NC")
    if mode == "strict":
        log_softmax = logits.double().log_softmax(dim=1)
        return float(_average_precisions(log_softmax, hot, ties_as_one=True).nanmean())
    if mode != "official":
        raise ValueError(f"expected mode 'strict' or 'official'; got {mode!r}: take 'strict'")
    occurring = hot[:, hot.any(dim=0)]
    compacted = torch.zeros_like(hot)
    compacted[:, : occurring.shape[1]] = occurring
    softmax = logits.float().softmax(dim=1)
    return float(_average_precisions(softmax, compacted, ties_as_one=False).nan_to_num(0).mean())


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
        mode: ``strict`` or ``official``; see `mean_average_precision`.

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


def _average_precisions(scores: Tensor, hot: Tensor, ties_as_one: bool) -> Tensor:
    """Return the mean over each class's videos of the precision at their ranks, ``(C,)``."""
    ordered, order = scores.sort(dim=0, descending=True, stable=True)
    right = hot.gather(0, order).double()
    ranks = torch.arange(1, len(scores) + 1)[:, None].expand_as(order)
    if ties_as_one:  # all of a tie have the rank of its last
        last = ordered != ordered.roll(-1, dims=0)  # of the final row it does not matter
        ranks = ranks.where(last, len(scores)).flip(0).cummin(dim=0).values.flip(0)
    precision = right.cumsum(dim=0).gather(0, ranks - 1) / ranks
    return (precision * right).sum(dim=0) / right.sum(dim=0)


def _mean_cost(gmacs: Tensor, shape: torch.Size) -> list[float]:
    """Return the mean over the videos of what each spent so far, ``(N, T)``, after checking it."""
    if gmacs.shape != shape or not gmacs.is_floating_point():
        raise ValueError(
            f"expected floating-point gmacs (N, T) = {tuple(shape)}; got {gmacs.dtype} "
            f"{tuple(gmacs.shape)}: give each video's cost so far after each step"
        )
    gmacs = gmacs.detach().cpu().double()
    falls = gmacs.diff(dim=1, prepend=torch.zeros(len(gmacs), 1)) < 0
    if (video := _first(falls | ~gmacs.isfinite())) is not None:
        raise ValueError(
            "expected finite gmacs >= 0 that never fall from step to step; got "
            f"{gmacs[video].tolist()!s:.80} for video {video}: give the cost so far, a running sum"
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
    n_videos, n_classes = shape[0], shape[-1]
    logits, labels = logits.detach().cpu(), labels.detach().cpu()
    if (video := _first(~logits.isfinite())) is not None:
        raise ValueError(
            f"expected finite logits; got NaN or infinity for video {video}: check the features "
            "and weights that they come from"
        )
    if labels.dtype == torch.bool and labels.shape == (n_videos, n_classes):
        if (video := _first(~labels.any(dim=1))) is not None:
            raise ValueError(
                f"expected at least one label per video; got none for video {video}: leave it out"
            )
        return logits, labels
    if labels.dtype != torch.int64 or labels.shape != (n_videos,):
        raise ValueError(
            f"expected labels (N,) = ({n_videos},) int64 or (N, C) = ({n_videos}, {n_classes}) "
            f"bool; got {labels.dtype} {tuple(labels.shape)}: convert them"
        )
    if (video := _first((labels < 0) | (labels >= n_classes))) is not None:
        raise ValueError(
            f"expected labels in [0, {n_classes}), the classes of the logits; got {labels[video]} "
            f"for video {video}: check the class list, or give (N, C) bool for padded labels"
        )
    return logits, torch.nn.functional.one_hot(labels, n_classes).bool()


def _first(wrong: Tensor) -> int | None:
    """Return the first video ``(N, ...)`` of which anything is true, or None."""
    videos = wrong.reshape(len(wrong), -1).any(dim=1).nonzero()
    return int(videos[0]) if len(videos) else None
