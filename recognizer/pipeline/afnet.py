"""An AF network as a recognizer: with how its frames are prepared, in one bundle."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..afnet.compute import AFNetCost, afnet_cost
from ..afnet.config import AFNetConfig
from ..afnet.network import AFNet, AFNetOutput
from ..encoders.config import FrameConfig
from ..files.typed import typed
from .afnet_stream import AFNetStream
from .base import VideoRecognizer
from .checks import check_finite, check_pixels
from .look import GLANCE_PIXELS, autocast, autocast_dtype, batches
from .recognition import Recognition

if TYPE_CHECKING:
    from typing_extensions import Self  # in typing from Python 3.11 on


@dataclass(frozen=True)
class AFNetRecognizerConfig:
    """What an `AFNetRecognizer` is assembled from.

    Attributes:
        afnet: The network.
        frames: Which frames of a video are read, and how they are prepared.
        classes: Names of the C classes; empty if they are not known.

    Raises:
        ValueError: If a name is no text.
    """

    afnet: AFNetConfig
    frames: FrameConfig
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check the names."""
        if type(self.classes) is not tuple or not all(type(each) is str for each in self.classes):
            raise ValueError(f"classes must be names; got {self.classes!r:.80}")

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> AFNetRecognizerConfig:
        """Return the config that ``dataclasses.asdict`` and JSON have made plain.

        Raises:
            TypeError: If keys are missing or unknown.
            ValueError: If a value is wrong.
        """
        parts: dict[str, Any] = {
            "afnet": typed(AFNetConfig, content.get("afnet", {}), "afnet"),
            "frames": typed(FrameConfig, content.get("frames", {}), "frames"),
        }
        if isinstance(content.get("classes"), list):  # JSON's; anything else is refused
            parts["classes"] = tuple(content["classes"])
        return cls(**{**content, **parts})


class AFNetRecognizer(VideoRecognizer):
    """An AF network for videos whose frames are all given; each is one prediction.

    Its focal branches run on the frames that its gates keep, and what a video costs follows them.
    The same frames give the same result: the gates have no noise.

    Attributes, beside those of `VideoRecognizer`:
        network: The AF network.
    """

    frames: FrameConfig

    def __init__(
        self,
        network: AFNet,
        *,
        frames: FrameConfig,
        classes: Sequence[str] = (),
        precision: str = "float32",
    ) -> None:
        """Assemble the recognizer, in eval mode.

        Args:
            network: The AF network.
            frames: Which frames it is made for, and how they are prepared.
            classes: Names of the C classes.
            precision: ``float32``; or ``bfloat16`` or ``float16``, in which it then computes where
                torch's autocast does.

        Raises:
            ValueError: If frames and network are not for each other, names are not as many as
                classes, or the precision is unknown.
        """
        sizes = network.config
        super().__init__(sizes.n_classes, frames=frames, classes=classes, precision=precision)
        if frames.steps != sizes.n_frames or frames.read_frames != 1 or frames.order != "video":
            raise ValueError(
                f"the network is for {sizes.n_frames} frames in the video's order, a segment each; "
                f"got {frames}: read the frames that it was trained on"
            )
        self.network = network
        self._is_fused = False
        self._cost: AFNetCost | None = None
        self.eval()

    @property
    def cost(self) -> AFNetCost:
        """Multiply-adds of a video, counted once on the real modules."""
        if self._cost is None:
            self._cost = afnet_cost(self.network, self.frames.frame_px)
        return self._cost

    @property
    def predictions(self) -> int:
        """One, of all frames."""
        return 1

    def full_frames_gmacs(self) -> float:
        """Return the GMACs of a video of which all gates keep all frames."""
        return self.cost.at_ratio(1.0, self.frames.steps)

    def branch_shares(self, gmacs: float) -> dict[str, float]:
        """Return what share of the compute of the focal branches a video ran."""
        return {"focal": self.cost.share_of(gmacs, self.frames.steps)}

    @property
    def is_fused(self) -> bool:
        """Whether it is a copy that `fused` made."""
        return self._is_fused

    def fused(self) -> Self:
        """Return a copy for inference, with batch norms folded into convolutions."""
        recognizer = copy.copy(self)
        recognizer._modules = {"network": self.network.fused()}
        recognizer._is_fused = True
        return recognizer

    @torch.no_grad()
    def look(
        self, frames: Tensor, *, masks: Tensor | None = None, draws: Tensor | None = None
    ) -> AFNetOutput:
        """Run the network on some videos at a time: predictions, and what its gates kept.

        Args:
            frames: ``(B, T, 3, S, S)`` uint8; for other sizes see `prepare`.
            masks: ``(B, T, gates)``, which stand in place of those of the gates; None: the gates'.
            draws: ``(B, T, gates)`` uniform in [0, 1), noise of the gates as in training; None: no
                noise.

        Raises:
            ValueError: If the frames are not uint8, T and S×S, or masks or draws do not fit.
        """
        check_pixels(frames, self.frames.frame_px)
        outputs, first = [], 0
        for some in batches(frames.to(self.device), GLANCE_PIXELS):
            gate_values = {
                name: each[first : first + len(some)].to(self.device)
                for name, each in (("masks", masks), ("draws", draws))
                if each is not None
            }
            first += len(some)
            with autocast(self.device, autocast_dtype(self.precision)):
                outputs.append(self.network(some, gather=True, **gate_values))
        output = AFNetOutput(*(torch.cat(parts) for parts in zip(*outputs, strict=True)))
        return output._replace(logits=output.logits.float(), by_frame=output.by_frame.float())

    def stream(self, batch: int = 1) -> AFNetStream:
        """Begin to recognize videos whose frames come one after the other.

        Args:
            batch: B, streams in step with each other.

        Raises:
            ValueError: If there is no stream, or the network shifts both ways.
        """
        return AFNetStream(self, batch)

    def forward(self, frames: Tensor) -> Recognition:
        """Recognize videos; see `look`, which also tells what the gates kept, and `concluded`.

        Raises:
            ValueError: If the frames are not uint8, T and S×S.
            PredictionError: If a prediction is not finite.
        """
        return self.concluded(self.look(frames))

    def concluded(self, output: AFNetOutput) -> Recognition:
        """Return one prediction for each video, of all its frames, and what it cost.

        Raises:
            PredictionError: If a prediction is not finite.
        """
        recognition = Recognition.of_videos(output.logits, self.cost.of_videos(output.ran))
        check_finite(recognition.logits, self.precision, torch.float32)
        return recognition

    @classmethod
    def assemble(cls, content: Mapping[str, Any]) -> Self:
        """Build a recognizer with random weights from a bundle's config."""
        config = AFNetRecognizerConfig.of(content)
        return cls(AFNet(config.afnet), frames=config.frames, classes=config.classes)

    def describe(self) -> AFNetRecognizerConfig:
        """Return what it is built from."""
        return AFNetRecognizerConfig(self.network.config, self.frames, self.classes)
