"""What recognizers with f_G, f_L and f_C are: networks assembled."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Protocol

from torch import nn

from ..accounting.compute import Cost
from ..classifiers.base import Classifier
from ..encoders.config import FrameConfig
from ..encoders.encoder import Encoder
from ..exits import ExitRule
from .base import VideoRecognizer
from .checks import check_channels


class Framed(Protocol):
    """Places of any kind, as far as all recognizers need them."""

    @property
    def frame_px(self) -> int:
        """Frame side S, pixels."""


class Recognizer(VideoRecognizer):
    """f_G, f_L and f_C, and what all recognizers that have them do with them alike.

    Attributes, beside those of `VideoRecognizer`:
        glance_encoder: f_G.
        local_encoder: f_L.
        classifier: f_C.
        policy: π; None where it has to be told where to look.
        places: Where f_L may be run.
    """

    has_boxes: ClassVar[bool] = True

    policy: nn.Module | None
    places: Framed

    def __init__(
        self,
        glance_encoder: Encoder,
        local_encoder: Encoder,
        classifier: Classifier,
        *,
        frames: FrameConfig | None,
        classes: Sequence[str],
        precision: str,
        exits: ExitRule | None,
    ) -> None:
        """Take the networks.

        Raises:
            ValueError: If names are not as many as classes, the classifier is for other encoders,
                the precision is unknown, or the exits are for another number of predictions.
        """
        super().__init__(
            classifier.config.n_classes,
            frames=frames,
            classes=classes,
            precision=precision,
            exits=exits,
        )
        check_channels(classifier.config, glance_encoder, local_encoder)
        self.glance_encoder = glance_encoder
        self.local_encoder = local_encoder
        self.classifier = classifier

    @property
    def can_stop(self) -> bool:
        """Always: it predicts after every look."""
        return True

    @property
    @abstractmethod
    def cost(self) -> Cost:
        """Multiply-adds by network, counted once on the real modules."""

    @property
    def segment_frames(self) -> int:
        """F, frames of a segment that f_L reads."""
        return 1 if self.frames is None else self.frames.segment_frames

    @property
    def read_frames(self) -> int:
        """Frames of a segment that are given: F, and those that f_G has for itself."""
        return 1 if self.frames is None else self.frames.read_frames
