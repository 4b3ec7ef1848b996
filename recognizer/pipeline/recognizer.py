"""What recognizers with f_G, f_L and f_C are: networks assembled, and written as a bundle."""

from __future__ import annotations

import copy
import os
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from torch import nn

from ..accounting.compute import Cost
from ..classifiers.base import Classifier
from ..encoders.encoder import Encoder
from ..encoders.frames import FrameConfig
from ..exits import ExitRule
from ..files.bundle import write_bundle
from .base import VideoRecognizer
from .checks import check_channels

if TYPE_CHECKING:
    from typing_extensions import Self  # in typing from Python 3.11 on


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
        exits: When a video stops; None if never before its end.
    """

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
                or the precision is unknown.
        """
        super().__init__(
            classifier.config.n_classes, frames=frames, classes=classes, precision=precision
        )
        check_channels(classifier.config, glance_encoder, local_encoder)
        self.glance_encoder = glance_encoder
        self.local_encoder = local_encoder
        self.classifier = classifier
        self.exits = exits

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

    def fused(self) -> Self:
        """Return a copy for inference, its encoders fused; see `Encoder.fused`."""
        recognizer = copy.copy(self)
        recognizer._modules = dict(self._modules)
        for name, network in self.named_children():
            fused = network.fused() if isinstance(network, Encoder) else copy.deepcopy(network)
            setattr(recognizer, name, fused)
        return recognizer

    def save(
        self,
        path: str | os.PathLike[str],
        cache_fingerprint: str | None = None,
        metrics: Mapping[str, float] | None = None,
    ) -> None:
        """Write all networks, and what is needed to run them on any video, as a safe bundle.

        Args:
            path: The folder; its parent must exist.
            cache_fingerprint: Of the cache that f_C and π were trained on, if any.
            metrics: Numbers that were measured on the recognizer, by name.

        Raises:
            ValueError: If the encoders are fused, or it is not known how
                frames are prepared.
        """
        config = self.describe()
        for encoder in (self.glance_encoder, self.local_encoder):
            if encoder.is_fused:
                raise ValueError(
                    "expected encoders as they were built or trained; got a fused one: save the "
                    "recognizer that it was fused from"
                )
        # Safetensors refuse weights that share memory, as those of one encoder for both parts do.
        networks = nn.ModuleDict(
            {**dict(self.named_children()), "local_encoder": copy.deepcopy(self.local_encoder)}
        )
        write_bundle(path, "recognizer", config, networks, cache_fingerprint, metrics)
