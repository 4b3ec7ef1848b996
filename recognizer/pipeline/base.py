"""What every recognizer is, whatever its networks: from frames of videos to predictions."""

from __future__ import annotations

import copy
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from ..encoders.config import FrameConfig
from ..encoders.encoder import Encoder
from ..encoders.frames import fit_frames
from ..exits import ExitRule
from ..files.bundle import write_bundle
from ..limits import check_names
from .look import autocast_dtype
from .recognition import Recognition
from .registry import name_of

if TYPE_CHECKING:
    from typing_extensions import Self  # in typing from Python 3.11 on


class VideoRecognizer(nn.Module, ABC):
    """A module that recognizes videos, says how their frames are prepared, and what it can do.

    A kind of your own implements `forward`, `cost`, `full_frames_gmacs`, `describe` and `assemble`;
    what it can do beside recognizing is said by overriding the others.

    Attributes:
        n_classes: C.
        frames: Which frames it was made for, and how frames of any size are prepared; None if that
            is not known, and a segment is then one frame.
        classes: Names of the C classes; empty if they are not known.
        precision: In which the encoders compute.
        has_boxes: Whether it looks at boxes in frames, and says at which.
        glances: How many predictions come before the first look.
        in_turn: Whether only an exit leaves segments out.
    """

    has_boxes: ClassVar[bool] = False
    glances: ClassVar[int] = 0
    in_turn: ClassVar[bool] = True

    def __init__(
        self,
        n_classes: int,
        *,
        frames: FrameConfig | None,
        classes: Sequence[str] = (),
        precision: str = "float32",
        exits: ExitRule | None = None,
    ) -> None:
        """Take what is no network.

        Raises:
            ValueError: If names are not as many as classes, one is too long, the precision is
                unknown, or it cannot have such exits.
        """
        super().__init__()
        if classes and len(classes) != n_classes:
            raise ValueError(
                f"expected names of the classifier's {n_classes} classes; got "
                f"{len(classes)}: give one each, or none"
            )
        check_names(classes)
        autocast_dtype(precision)  # refused here if it is unknown
        self.n_classes = n_classes
        self.frames = None if frames is None else frames.for_any_size()
        self.classes = tuple(classes)
        self.precision = precision
        self._exits: ExitRule | None = None
        if exits is not None:
            self.exits = exits

    @abstractmethod
    def forward(self, frames: Tensor) -> Recognition:
        """Recognize videos whose frames are all given.

        Args:
            frames: ``(B, T, 3, S, S)`` uint8, as `prepare` makes them; ``(B, T, F, 3, S, S)`` where
                a segment has several frames.

        Raises:
            PredictionError: If a prediction is not finite.
        """

    @property
    @abstractmethod
    def cost(self) -> Any:
        """Multiply-adds by part, counted once on the real modules."""

    @abstractmethod
    def full_frames_gmacs(self) -> float:
        """Return the GMACs of a video of which nothing is left out: all networks on whole frames.

        It is what savings are compared with, and has no policy in it.
        """

    @abstractmethod
    def describe(self) -> Any:
        """Return the dataclass that the recognizer is built from again; see `assemble`.

        Raises:
            ValueError: If it is not known how frames are prepared.
        """

    @classmethod
    @abstractmethod
    def assemble(cls, content: Mapping[str, Any]) -> Self:
        """Build a recognizer with random weights from what a bundle says of it.

        Args:
            content: What `describe` returned, made plain by ``dataclasses.asdict`` and JSON. It may
                be somebody else's: check every value, as `typed` does, and build networks by name
                as not ``trusted``.

        Raises:
            TypeError: If keys are missing or unknown.
            ValueError: If a value is wrong.
        """

    @property
    def can_stop(self) -> bool:
        """Whether there may be `exits`."""
        return False

    @property
    def exits(self) -> ExitRule | None:
        """When a video stops; None if never before its end.

        Raises:
            ValueError: If it is set where videos cannot stop, or for another number of predictions
                than a video has.
        """
        return self._exits

    @exits.setter
    def exits(self, rule: ExitRule | None) -> None:
        if rule is not None and not self.can_stop:
            raise ValueError(
                "this recognizer cannot stop a video before its end, and exits would change "
                "nothing: leave them out"
            )
        n = self.predictions
        if rule is not None and n and rule.steps != n:
            raise ValueError(
                f"expected exits of {n} steps, one for each prediction of a video; got "
                f"{rule.steps}: solve the rule for as many"
            )
        self._exits = rule

    @property
    def obstacle(self) -> str | None:
        """Why it cannot recognize a video from its frames alone, in words that follow its name.

        None if it can.
        """
        return None

    @property
    def predictions(self) -> int:
        """How many predictions a video has: one for each segment; 0 if that is not known."""
        return 0 if self.frames is None else self.frames.steps

    @property
    def units(self) -> str:
        """What is looked at, many of them, in a word."""
        several = self.frames is not None and self.frames.segment_frames > 1
        return "segments" if several else "frames"

    def branch_shares(self, gmacs: float) -> dict[str, float]:
        """Return what share of each branch that may be left out a video ran; none if there is none.

        Args:
            gmacs: What the video cost.
        """
        return {}

    def step_facts(self, recognition: Recognition, step: int) -> dict[str, Any]:
        """Return what a kind tells of a step beside what all do, by name, as plain values.

        Args:
            recognition: The recognition of one video.
            step: Which of its predictions.
        """
        return {}

    @property
    def device(self) -> torch.device:
        """Where the networks are, and where results are returned."""
        return next(self.parameters()).device

    @property
    def is_fused(self) -> bool:
        """Whether it is a copy that `fused` made."""
        return any(each.is_fused for each in self.modules() if isinstance(each, Encoder))

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

    def save(
        self,
        path: str | os.PathLike[str],
        cache_fingerprint: str | None = None,
        metrics: Mapping[str, float] | None = None,
    ) -> None:
        """Write all networks, and what is needed to run them on any video, as a safe bundle.

        Args:
            path: The folder; its parent must exist.
            cache_fingerprint: Of the cache that parts of it were trained on, if any.
            metrics: Numbers that were measured on the recognizer, by name.

        Raises:
            ValueError: If it is fused, no name finds its class again, what it is built from has a
                field ``recognizer``, or it is not known how frames are prepared.
        """
        described = asdict(self.describe())
        if "recognizer" in described:
            raise ValueError(
                "expected what `describe` returns without a field 'recognizer', which says what "
                f"kind it is; got {described['recognizer']!r:.80}: give the field another name"
            )
        config = {"recognizer": name_of(type(self)), **described}
        if self.is_fused:
            raise ValueError(
                "expected networks as they were built or trained; got fused ones: save the "
                "recognizer that they were fused from"
            )
        write_bundle(path, "recognizer", config, self, cache_fingerprint, metrics)
