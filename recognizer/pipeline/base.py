"""What every recognizer is, whatever its networks: from frames of videos to predictions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..encoders.frames import FrameConfig, fit_frames
from .look import autocast_dtype

if TYPE_CHECKING:
    from typing_extensions import Self  # in typing from Python 3.11 on


class VideoRecognizer(nn.Module, ABC):
    """A module that recognizes videos, and says how their frames are prepared.

    Attributes:
        frames: Which frames it was made for, and how frames of any size are prepared; None if that
            is not known, and a segment is then one frame.
        classes: Names of the C classes; empty if they are not known.
        precision: In which the encoders compute.
    """

    def __init__(
        self,
        n_classes: int,
        *,
        frames: FrameConfig | None,
        classes: Sequence[str],
        precision: str,
    ) -> None:
        """Take what is no network.

        Raises:
            ValueError: If names are not as many as classes, or the precision is unknown.
        """
        super().__init__()
        if classes and len(classes) != n_classes:
            raise ValueError(
                f"expected names of the classifier's {n_classes} classes; got "
                f"{len(classes)}: give one each, or none"
            )
        autocast_dtype(precision)  # refused here if it is unknown
        self.frames = None if frames is None else frames.for_any_size()
        self.classes = tuple(classes)
        self.precision = precision

    @property
    @abstractmethod
    def cost(self) -> Any:
        """Multiply-adds by part, counted once on the real modules."""

    @property
    def device(self) -> torch.device:
        """Where the networks are, and where results are returned."""
        return next(self.parameters()).device

    @abstractmethod
    def fused(self) -> Self:
        """Return a copy for inference, with batch norms folded into convolutions."""

    def prepare(self, frames: Tensor) -> Tensor:
        """Turn frames of any size into those that the recognizer reads.

        Args:
            frames: ``(..., 3, height, width)`` uint8.

        Returns:
            ``(..., 3, S, S)`` uint8: the central crop of the resized frames.

        Raises:
            ValueError: If it is not known how the recognizer's frames were prepared.
        """
        if self.frames is None:
            raise ValueError(
                "this recognizer does not know how its frames were prepared: assemble it with "
                "`frames`, or load it from a bundle"
            )
        return fit_frames(frames, self.frames)

    @abstractmethod
    def describe(self) -> Any:
        """Return the dataclass that the recognizer is built from again.

        Raises:
            ValueError: If it is not known how frames are prepared.
        """
