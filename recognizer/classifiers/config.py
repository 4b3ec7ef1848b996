"""What a classifier f_C is: the settings; imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass

from ..limits import MOST_STEPS


@dataclass(frozen=True)
class ClassifierConfig:
    """Sizes of a classifier, and how it joins frames.

    Attributes:
        glance_channels: G.
        local_channels: L.
        n_classes: C.
        hidden: H of the GRU (1024 in the paper); not used by averaging.
        dropout: Dropout before the output layer, in training.
        reuse_glance: Whether ē^G is classified too (Eq. 4 does, the paper's Table 5 does not).
        aggregation: How frames are joined: a name of `CLASSIFIERS`, such as ``gru``, ``average``,
            ``average_logits`` or ``max_pool``; or ``module:attribute`` of a class of your own.
        steps: Heads of ``max_pool``, one per step, at least as many as a video has segments; not
            used by the others.

    Raises:
        ValueError: If the dropout is out of range, or there is no head.
    """

    glance_channels: int
    local_channels: int
    n_classes: int
    hidden: int = 1024
    dropout: float = 0.5
    reuse_glance: bool = True
    aggregation: str = "gru"
    steps: int = 16

    def __post_init__(self) -> None:
        """Check the dropout and the number of heads."""
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1); got {self.dropout}")
        if not isinstance(self.aggregation, str):
            raise ValueError(f"aggregation must be a name; got {self.aggregation!r}")
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1; got {self.steps}")
        if self.steps > MOST_STEPS:
            raise ValueError(f"steps must be at most {MOST_STEPS}; got {self.steps}")
