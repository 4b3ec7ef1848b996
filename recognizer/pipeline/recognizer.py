"""What all recognizers are: networks assembled, with how a video's frames are prepared."""

from __future__ import annotations

import copy
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, Self

import torch
from torch import Tensor, nn

from ..accounting.compute import Cost
from ..classifiers.base import Classifier
from ..encoders.encoder import Encoder
from ..encoders.frames import FrameConfig, fit_frames
from ..exits import ExitRule
from ..files.bundle import write_bundle
from .checks import check_channels
from .look import autocast_dtype


class Framed(Protocol):
    """Places of any kind, as far as all recognizers need them."""

    @property
    def frame_px(self) -> int:
        """Frame side S, pixels."""


class Recognizer(nn.Module, ABC):
    """f_G, f_L and f_C, and what all recognizers do with them alike.

    Attributes:
        glance_encoder: f_G.
        local_encoder: f_L.
        classifier: f_C.
        policy: π; None where it has to be told where to look.
        places: Where f_L may be run.
        frames: Which frames it was made for, and how frames of any size are prepared; None if that
            is not known, and a segment is then one frame.
        classes: Names of the C classes; empty if they are not known.
        precision: In which the encoders compute.
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
        super().__init__()
        if classes and len(classes) != classifier.config.n_classes:
            raise ValueError(
                f"expected names of the classifier's {classifier.config.n_classes} classes; got "
                f"{len(classes)}: give one each, or none"
            )
        autocast_dtype(precision)  # refused here if it is unknown
        check_channels(classifier.config, glance_encoder, local_encoder)
        self.glance_encoder = glance_encoder
        self.local_encoder = local_encoder
        self.classifier = classifier
        self.frames = None if frames is None else frames.for_any_size()
        self.classes = tuple(classes)
        self.precision = precision
        self.exits = exits

    @property
    @abstractmethod
    def cost(self) -> Cost:
        """Multiply-adds by network, counted once on the real modules."""

    @property
    def device(self) -> torch.device:
        """Where the networks are, and where results are returned."""
        return next(self.parameters()).device

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
