"""Gates: which frames the focal branch of a block is run on, and how that is trained."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from .config import SCHEDULES, ScheduleKind

# The score to skip at the start of a training; and that to keep a position.
_SKIP_SCORE, _KEEP_POSITION = 1.0, 1.5
# Draws nearer to 0 or 1 would be infinite noise.
_LEAST_DRAW = 1e-7
# By which a threshold follows the batches of a training, as the statistics of a BatchNorm do.
_MOMENTUM = 0.1


class Navigation(nn.Module):
    """A gate: from what the ample branch has seen of a video to the frames that are kept.

    The pooled features of each frame become two numbers, and these, by a linear layer of the
    frame's own, the scores to skip and to keep it. It is initialised toward keeping.

    Attributes:
        threshold: The margin above which a frame is kept where there is no noise; 0 until it is
            trained, see `follow`.

    Source: AFNet's navigation module as its released code has it, and the threshold, which is ours.
    """

    threshold: Tensor

    def __init__(self, channels: int, n_frames: int, keep_score: float) -> None:
        """Build a gate with random weights.

        Args:
            channels: Of the ample branch before the block.
            n_frames: T.
            keep_score: What the score to keep begins with.
        """
        super().__init__()
        self.n_frames = n_frames
        self.reduce = nn.Conv2d(channels, 2, 1, bias=False)
        self.norm = nn.BatchNorm2d(2)
        self.score = nn.Conv2d(2 * n_frames, 2 * n_frames, 1, groups=n_frames)
        with torch.no_grad():
            assert self.score.bias is not None
            self.score.bias.copy_(torch.tensor([_SKIP_SCORE, keep_score]).repeat(n_frames))
        self.register_buffer("threshold", torch.zeros(()))

    def forward(self, maps: Tensor, frame: int | None = None) -> Tensor:
        """Return ``(B, T)``, by how much the score to keep a frame is above that to skip it.

        Args:
            maps: ``(B·T, channels, h, w)`` of the ample branch; of one frame ``(B, …)``.
            frame: Which frame they are of, from 0, for ``(B, 1)``; None: all T.
        """
        pooled = maps.mean(dim=(2, 3), keepdim=True)
        reduced = self.norm(self.reduce(pooled)).relu()  # (B·T, 2, 1, 1)
        if frame is None:
            scores = self.score(reduced.reshape(-1, 2 * self.n_frames, 1, 1))
        else:
            of, (weight, bias) = slice(2 * frame, 2 * frame + 2), self.score.parameters()
            scores = functional.conv2d(reduced, weight[of], bias[of])
        skip, keep = scores.float().view(len(scores), -1, 2).unbind(dim=2)
        margin: Tensor = keep - skip
        return margin

    @torch.no_grad()
    def follow(self, margin: Tensor) -> None:
        """In training mode, move the threshold towards the one that suits margins ``(B, T)``.

        With margins that are all a little above 0, the noise of training keeps half of the frames,
        and a gate without noise would keep all. So the threshold is the margin above which as many
        frames are as the noise keeps on average, as near as equal margins allow. Margins that are
        not finite leave it as it is.
        """
        if not self.training:
            return
        share = torch.sigmoid(margin).mean().nan_to_num(1.0)  # what logistic noise keeps
        n_left_out = (1 - share) * margin.numel()
        fits = torch.where(n_left_out < 0.5, 0, torch.quantile(margin, 1 - share))
        fits = torch.where(fits.isfinite(), fits, self.threshold)
        self.threshold.lerp_(fits, _MOMENTUM)


class SpatialNavigation(nn.Module):
    """A gate of positions: a `Navigation` without pooling, with one last layer for all frames.

    Source: ours. The supplement of AFNet has a spatial ratio RS in Table 3 and does not say what it
        is the ratio of, nor does its released code have it. This is the plainest reading: a mask of
        positions, made as that of frames is, where the ample branch has them. It has no noise, and
        so no threshold, and its scores begin near each other: without noise a score that is far
        above the other has no gradient. What it sets to zero is computed nevertheless: a dense
        convolution skips frames, not positions.
    """

    def __init__(self, channels: int) -> None:
        """Build a gate with random weights.

        Args:
            channels: Of the ample branch before the block.
        """
        super().__init__()
        self.reduce = nn.Conv2d(channels, 2, 1, bias=False)
        self.norm = nn.BatchNorm2d(2)
        self.score = nn.Conv2d(2, 2, 1)
        with torch.no_grad():
            assert self.score.bias is not None
            self.score.bias.copy_(torch.tensor([_SKIP_SCORE, _KEEP_POSITION]))

    def forward(self, maps: Tensor) -> Tensor:
        """Return ``(B·T, h, w)``, by how much the score to keep a position is above the other.

        Args:
            maps: ``(B·T, channels, h, w)`` of the ample branch.
        """
        skip, keep = self.score(self.norm(self.reduce(maps)).relu()).float().unbind(dim=1)
        margin: Tensor = keep - skip
        return margin


def select(margin: Tensor, temperature: float, draws: Tensor | None = None) -> Tensor:
    """Return hard masks, 1 where a frame is kept, 0 where not; with a soft gradient.

    The gradient is that of the softmax of the two noisy scores over the temperature. The difference
    of two Gumbel numbers is a logistic one, so that one uniform number makes the noise of a frame.

    Args:
        margin: ``(B, T)`` from `Navigation`, or positions from `SpatialNavigation`.
        temperature: τ, above 0; the lower, the steeper the gradient.
        draws: Of the same shape, uniform in [0, 1); None is without noise: the higher score wins.

    Raises:
        ValueError: If the temperature is not above 0.

    Source: Jang et al. (arXiv:1611.01144), straight-through. The released code of AFNet draws noise
        in evaluation as well; here none is drawn that the caller does not give.
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0; got {temperature}")
    noisy = margin
    if draws is not None:
        noisy = margin + torch.logit(draws, eps=_LEAST_DRAW).to(margin)
    soft = torch.sigmoid(noisy / temperature)
    hard = (noisy > 0).to(soft.dtype)
    # In this order the value is hard to the bit: (hard + soft) − soft would be rounded.
    return hard + (soft - soft.detach())


def selection_loss(
    shares: Tensor, target: float, *, weight: float = 1.0, prices: Tensor | None = None
) -> Tensor:
    """Return the loss that draws what the blocks keep to a target.

    Args:
        shares: ``(gates,)``, the share of frames, or of positions, that each block keeps.
        target: What is to be kept, in [0, 1]; see `ratio_target`.
        weight: λ: 1 for Mini-Kinetics and ActivityNet, 0.5 for Jester and Something-Something.
        prices: ``(gates,)``, what keeping a frame costs in each block. With them the target is of
            the compute of all blocks together, and some may keep more than others.

    Returns:
        A number: λ times the mean over blocks of (target − the block's share)²; with prices λ times
        (target − the mean share, weighted by prices)².

    Source: supplement of AFNet, 1.2 and 1.3 (λ); the form is that of its released code. Prices are
        ours.
    """
    if prices is None:
        return weight * (target - shares).square().mean()
    return weight * (target - (shares * prices).sum() / prices.sum()).square()


def gate_temperature(
    step: int,
    n_steps: int,
    kind: ScheduleKind = "exponential",
    *,
    first: float = 1.0,
    last: float = 0.01,
) -> float:
    """Return the temperature τ of a step of a training.

    Args:
        step: From 0; from ``n_steps`` on the temperature stays at ``last``.
        n_steps: Steps after which it is at ``last``.
        kind: How it falls: ``exponential``, ``cosine`` or ``linear``.
        first: τ at step 0.
        last: τ from step ``n_steps`` on.

    Raises:
        ValueError: If the kind is unknown, or a number is out of range.

    Source: supplement of AFNet, 1.2 (from 1 to 0.01) and Table 6 (the three kinds).
    """
    if step < 0 or n_steps < 1:
        raise ValueError(
            f"step must be at least 0 and n_steps at least 1; got {step} and {n_steps}"
        )
    if not (first > 0 and last > 0):
        raise ValueError(f"temperatures must be above 0; got {first} and {last}")
    done = min(step / n_steps, 1.0)
    if kind == "exponential":
        return float(first * (last / first) ** done)
    if kind == "cosine":
        return last + (first - last) * (1 + math.cos(math.pi * done)) / 2
    if kind == "linear":
        return first + (last - first) * done
    raise ValueError(f"kind must be one of {', '.join(SCHEDULES)}; got {kind!r}")


def ratio_target(epoch: int, ratio: float, starts: Sequence[int] = (10, 15, 20)) -> float:
    """Return the share of frames that an epoch draws the gates to, from 1 in steps to the ratio.

    Args:
        epoch: From 0.
        ratio: RT, in [0, 1].
        starts: First epoch of each step down, ascending; the steps are of equal height, and the
            last one reaches the ratio.

    Raises:
        ValueError: If the ratio is not in [0, 1], or the epochs do not ascend.

    Source: the released code of AFNet, in trainings of 50 and 55 epochs.
    """
    if not 0 <= ratio <= 1:
        raise ValueError(f"ratio must be in [0, 1]; got {ratio}")
    if not starts or list(starts) != sorted(starts):
        raise ValueError(f"starts must be ascending epochs, at least one; got {tuple(starts)}")
    taken = sum(epoch >= start for start in starts)
    return 1 - (1 - ratio) * taken / len(starts)
