"""How the supervised stages are trained: the settings; imports nothing heavy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, get_args

from ..files.typed import is_finite
from ..precisions import PRECISIONS, Precision

Optimizer = Literal["sgd", "adamw"]
OPTIMIZERS: tuple[Optimizer, ...] = get_args(Optimizer)
# Through which the places of cubes learn.
Gradient = Literal["deep", "pixel"]
GRADIENTS: tuple[Gradient, ...] = get_args(Gradient)
SCHEDULES = ("cosine", "one_cycle")

_DECAY = 0.1  # what the learning rate is multiplied by, at each of the epochs where it decays


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """How a stage is trained: what the library and the command line have in common.

    Attributes:
        optimizer: ``sgd``, or ``adamw``.
        decay_epochs: Epochs, from 0 and ascending, from each of which on the learning rate is a
            tenth of what it was; none is the schedule's own fall. Not of ``one_cycle``.
        warmup_epochs: Epochs in which the learning rate rises evenly, from step to step, to what it
            is meant to be. The cosine falls in those after them. Not of ``one_cycle``.
        nesterov: Whether SGD's momentum is Nesterov's.
        weight_decay: L2 regularization of SGD, or AdamW's.
        freeze_batch_norm: Whether statistics of BatchNorms stay as they are where they would be
            trained.
        precision: ``float32``; or ``bfloat16`` or ``float16``, in which torch's autocast computes,
            the latter with scaled gradients.
    """

    optimizer: Optimizer = "sgd"
    decay_epochs: tuple[int, ...] = ()
    warmup_epochs: int = 0
    nesterov: bool = True
    weight_decay: float = 1e-4
    freeze_batch_norm: bool = False
    precision: Precision = "float32"


@dataclass(frozen=True)
class FitConfig(FitSettings):
    """How a stage is trained: see `FitSettings` for the other settings.

    Attributes:
        epochs: Passes over the training videos.
        batch_size: Videos per step, of all processes together.
        lr: Learning rate at the start, or the highest of ``one_cycle``, of each network that is
            trained: ``encoder`` (stage 0), ``local``, ``classifier``. A network that is not named
            is fixed, and in eval mode.
        schedule: ``cosine``, falling to zero; or ``one_cycle``, which rises for 30 % of the steps
            and then falls to zero; AdamW's first beta then falls and rises against it, between 0.95
            and 0.85.
        momentum: Of SGD.
        lr_batch_size: The batch size that ``lr`` is meant for: for another ``batch_size`` the rates
            are scaled in proportion. None takes them as they are.

    Raises:
        ValueError: If a number is out of range or a name is unknown.

    Source: AdaFocus (arXiv:2105.03245) appendix B.1: SGD, cosine annealing, Nesterov momentum 0.9,
        L2 1e-4. The released code sets no Nesterov momentum, and computes in float16. Supplement of
        AFNet, section 1: decay at given epochs, and a warm-up, whose form is ours.
    """

    epochs: int
    batch_size: int
    lr: Mapping[str, float]
    schedule: str = "cosine"
    momentum: float = 0.9
    lr_batch_size: int | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        if self.epochs < 1 or self.batch_size < 1:
            raise ValueError(
                "a stage needs epochs >= 1 and batch_size >= 1; got "
                f"{self.epochs}, {self.batch_size}"
            )
        if not self.lr or not all(is_finite(rate) and rate > 0 for rate in self.lr.values()):
            raise ValueError(
                "lr must name at least one network, each with a rate > 0; got "
                f"{dict(self.lr)}: leave a network out to keep it fixed"
            )
        if self.lr_batch_size is not None and self.lr_batch_size < 1:
            raise ValueError(f"lr_batch_size must be at least 1, or None; got {self.lr_batch_size}")
        bounds = (0, *self.decay_epochs, self.epochs)
        if not all(before < after for before, after in pairwise(bounds)):
            raise ValueError(
                f"decay_epochs must ascend, each in 1..{self.epochs - 1} of {self.epochs} epochs; "
                f"got {', '.join(map(str, self.decay_epochs))}: give others, or none for a cosine"
            )
        if not 0 <= self.warmup_epochs < self.epochs:
            raise ValueError(
                f"warmup_epochs must be in 0..{self.epochs - 1} of {self.epochs} epochs; got "
                f"{self.warmup_epochs}"
            )
        if self.schedule == "one_cycle" and (self.decay_epochs or self.warmup_epochs):
            raise ValueError(
                "decay_epochs and warmup_epochs are not for one_cycle, which rises and falls in "
                f"its own way; got {list(self.decay_epochs)} and {self.warmup_epochs}: leave them "
                "out, or train with SGD"
            )
        if not 0 <= self.momentum < 1 or not (
            is_finite(self.weight_decay) and self.weight_decay >= 0
        ):
            raise ValueError(
                "momentum must be in [0, 1) and weight_decay not negative; got "
                f"{self.momentum}, {self.weight_decay}"
            )
        if self.optimizer == "sgd" and self.nesterov and not self.momentum:
            raise ValueError(
                "Nesterov momentum needs a momentum > 0; got 0: raise it, or set nesterov=False"
            )
        for name, known in (
            ("optimizer", OPTIMIZERS),
            ("schedule", SCHEDULES),
            ("precision", PRECISIONS),
        ):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"{name} must be one of {', '.join(known)}; got {getattr(self, name)!r}"
                )

    @property
    def lr_factor(self) -> float:
        """By which the learning rates are multiplied for this batch size."""
        return 1.0 if self.lr_batch_size is None else self.batch_size / self.lr_batch_size

    def lr_share(self, step: int, n_steps: int) -> float:
        """Return which share of `scaled_lr` a step has, of a schedule that is not ``one_cycle``.

        Args:
            step: From 0.
            n_steps: Of the whole training.
        """
        epoch_steps = n_steps // self.epochs
        n_warm = self.warmup_epochs * epoch_steps
        rise = min(1.0, (step + 1) / n_warm) if n_warm else 1.0
        if self.decay_epochs:
            n_decays = sum(step >= epoch * epoch_steps for epoch in self.decay_epochs)
            return rise * _DECAY**n_decays
        done = max(0, step - n_warm) / (n_steps - n_warm)
        return rise * (1 + math.cos(math.pi * done)) / 2

    @property
    def scaled_lr(self) -> dict[str, float]:
        """The learning rates for this batch size, by network."""
        return {name: rate * self.lr_factor for name, rate in self.lr.items()}
