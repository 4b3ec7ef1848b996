"""How the supervised stages are trained: the settings; imports nothing heavy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

OPTIMIZERS = ("sgd", "adamw")
SCHEDULES = ("cosine", "one_cycle")
PRECISIONS = ("float32", "bfloat16", "float16")


@dataclass(frozen=True)
class FitConfig:
    """How a stage is trained.

    Attributes:
        epochs: Passes over the training videos.
        batch_size: Videos per step, of all processes together.
        lr: Learning rate at the start, or the highest of ``one_cycle``, of each network that is
            trained: ``encoder`` (stage 0), ``local``, ``classifier``. A network that is not named
            is fixed, and in eval mode.
        optimizer: ``sgd``, or ``adamw``.
        schedule: ``cosine``, falling to zero; or ``one_cycle``, which rises for 30 % of the steps
            and then falls to zero; AdamW's first beta then falls and rises against it, between 0.95
            and 0.85.
        momentum: Of SGD.
        nesterov: Whether SGD's momentum is Nesterov's.
        weight_decay: L2 regularization of SGD, or AdamW's.
        lr_batch_size: The batch size that ``lr`` is meant for: for another ``batch_size`` the rates
            are scaled in proportion. None takes them as they are.
        freeze_batch_norm: Whether statistics of BatchNorms stay as they are where they would be
            trained.
        precision: ``float32``; or ``bfloat16`` or ``float16``, in which torch's autocast computes,
            the latter with scaled gradients.

    Raises:
        ValueError: If a number is out of range or a name is unknown.

    Source: AdaFocus (arXiv:2105.03245) appendix B.1: SGD, cosine annealing, Nesterov momentum 0.9,
        L2 1e-4. The released code sets no Nesterov momentum, and computes in float16.
    """

    epochs: int
    batch_size: int
    lr: Mapping[str, float]
    optimizer: str = "sgd"
    schedule: str = "cosine"
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 1e-4
    lr_batch_size: int | None = None
    freeze_batch_norm: bool = False
    precision: str = "float32"

    def __post_init__(self) -> None:
        """Check the values."""
        if self.epochs < 1 or self.batch_size < 1:
            raise ValueError(
                "a stage needs epochs >= 1 and batch_size >= 1; got "
                f"{self.epochs}, {self.batch_size}"
            )
        if not self.lr or not all(0 < rate < math.inf for rate in self.lr.values()):
            raise ValueError(
                "lr must name at least one network, each with a rate > 0; got "
                f"{dict(self.lr)}: leave a network out to keep it fixed"
            )
        if self.lr_batch_size is not None and self.lr_batch_size < 1:
            raise ValueError(f"lr_batch_size must be at least 1, or None; got {self.lr_batch_size}")
        if not 0 <= self.momentum < 1 or not 0 <= self.weight_decay < math.inf:
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

    @property
    def scaled_lr(self) -> dict[str, float]:
        """The learning rates for this batch size, by network."""
        return {name: rate * self.lr_factor for name, rate in self.lr.items()}
