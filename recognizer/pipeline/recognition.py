"""What a recognizer is made of, and what it returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..classifiers.config import ClassifierConfig
from ..encoders.config import FrameConfig
from ..encoders.encoder import EncoderConfig
from ..exits import ExitRule
from ..files.typed import typed
from ..places.cubes import Cubes
from ..places.places import Places, read_places
from ..policies.config import CubePolicyConfig, PolicyConfig
from ..precisions import FEATURE_DTYPES


@dataclass(frozen=True)
class RecognizerConfig:
    """What a recognizer is assembled from.

    Attributes:
        glance: f_G.
        local: f_L.
        classifier: f_C.
        policy: π and π′; None without.
        places: Where the K options are.
        frames: Which frames of a video are read, and how they are prepared.
        classes: Names of the C classes; empty if they are not known.
        feature_dtype: To which features are rounded, ``float16`` or ``float32``.
        exits: When a video stops; None if never before its last frame.

    Raises:
        ValueError: If the dtype is another one, or a name is no text.
    """

    glance: EncoderConfig
    local: EncoderConfig
    classifier: ClassifierConfig
    policy: PolicyConfig | None
    places: Places
    frames: FrameConfig
    classes: tuple[str, ...] = ()
    feature_dtype: str = "float16"
    exits: ExitRule | None = None

    def __post_init__(self) -> None:
        """Check the dtype and the names."""
        if self.feature_dtype not in FEATURE_DTYPES:
            raise ValueError(f"feature_dtype must be float16 or float32; got {self.feature_dtype}")
        _check_names(self.classes)

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> RecognizerConfig:
        """Return the config that ``dataclasses.asdict`` and JSON have made plain.

        Raises:
            TypeError: If keys are missing or unknown.
            ValueError: If a value is wrong.
        """
        policy = content.get("policy")
        parts: dict[str, Any] = {
            "glance": typed(EncoderConfig, content.get("glance", {}), "glance"),
            "local": typed(EncoderConfig, content.get("local", {}), "local"),
            "classifier": typed(ClassifierConfig, content.get("classifier", {}), "classifier"),
            "policy": None if policy is None else typed(PolicyConfig, policy, "policy"),
            "places": read_places(content.get("places", {})),
            "frames": typed(FrameConfig, content.get("frames", {}), "frames"),
        }
        return cls(**{**content, **parts, **_classes_and_exits(content)})


@dataclass(frozen=True)
class CubeRecognizerConfig:
    """What a recognizer with cubes is assembled from.

    Attributes:
        glance: f_G.
        local: f_L.
        classifier: f_C.
        policy: π.
        cubes: Where f_L may be run.
        frames: Which frames of a video are read, and how they are prepared.
        classes: Names of the C classes; empty if they are not known.
        exits: When a video stops; None if never before its last cube.

    Raises:
        ValueError: If a name is no text.
    """

    glance: EncoderConfig
    local: EncoderConfig
    classifier: ClassifierConfig
    policy: CubePolicyConfig
    cubes: Cubes
    frames: FrameConfig
    classes: tuple[str, ...] = ()
    exits: ExitRule | None = None

    def __post_init__(self) -> None:
        """Check the names."""
        _check_names(self.classes)

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> CubeRecognizerConfig:
        """Return the config that ``dataclasses.asdict`` and JSON have made plain.

        Raises:
            TypeError: If keys are missing or unknown.
            ValueError: If a value is wrong.
        """
        cubes = content.get("cubes", {})
        if not isinstance(cubes, Mapping):
            raise ValueError(f"cubes must be an object; got {cubes!r:.80}")
        cubes = dict(cubes)
        if (kind := cubes.pop("kind", None)) != Cubes.kind:
            raise ValueError(f"cubes must be of the kind {Cubes.kind}; got {kind!r:.80}")
        parts: dict[str, Any] = {
            "glance": typed(EncoderConfig, content.get("glance", {}), "glance"),
            "local": typed(EncoderConfig, content.get("local", {}), "local"),
            "classifier": typed(ClassifierConfig, content.get("classifier", {}), "classifier"),
            "policy": typed(CubePolicyConfig, content.get("policy", {}), "policy"),
            "cubes": typed(Cubes, cubes, "cubes"),
            "frames": typed(FrameConfig, content.get("frames", {}), "frames"),
        }
        return cls(**{**content, **parts, **_classes_and_exits(content)})


@dataclass(frozen=True)
class Recognition:
    """What the recognizer saw, concluded and spent.

    Of a `CubeRecognizer` T is D + 1: the glance comes first, then the cubes; options are centres
    ``(B, D + 1, 3)``, −1 for the glance and after an exit.

    Attributes:
        logits: ``(B, T, C)`` float32, after every frame.
        options: ``(B, T)`` int64 in ``[0, K)``: where it looked; of `Boxes` the centres
            ``(B, T, 2)`` float32 in [0, 1]. Where f_L was not run, the one that was named all the
            same; −1 after an exit, and where a system named no option. A recognizer does not take
            −1: to repeat a recognition, give it ``options.clamp(min=0)`` with ``attended``.
        boxes_px: ``(B, T, 4)`` int64: the patches as (left, top, right, bottom) in the frame,
            pixels; zeros where f_L was not run. Of `Boxes` float32, between pixels.
        attended: ``(B, T)`` bool: whether f_L was run.
        gmacs: ``(B, T)`` float64: multiply-adds spent on the video up to and including each frame.
        fed: ``(B, T)`` bool: whether the frame was taken at all. After its exit a video is not
            glanced at, looked at or classified: its prediction and its cost stay, and its option is
            −1. If it is not given, every frame was taken.
        segments: ``(B, T)`` int64: which segment each prediction was added for, of those that were
            read, from 0; of a cube of several frames the middle one; −1 for the glance at the whole
            video. If it is not given, all in turn.
    """

    logits: Tensor
    options: Tensor
    boxes_px: Tensor
    attended: Tensor
    gmacs: Tensor
    fed: Tensor = None  # type: ignore[assignment]  # a tensor once it is made
    segments: Tensor = None  # type: ignore[assignment]  # likewise

    def __post_init__(self) -> None:
        """Take every frame as fed, one after the other, if nothing else is told."""
        if self.fed is None:
            object.__setattr__(self, "fed", torch.ones_like(self.attended))
        if self.segments is None:
            every = torch.arange(self.attended.shape[1], device=self.attended.device)
            object.__setattr__(self, "segments", every.expand_as(self.attended))

    @staticmethod
    def of_videos(logits: Tensor, gmacs: Tensor) -> Recognition:
        """Return one prediction for each video, of all that was read of it, without a place.

        Options and segments are −1, and nothing is attended.

        Args:
            logits: ``(B, C)`` float32.
            gmacs: ``(B,)`` float64: what each video cost.
        """
        none = torch.full((len(logits), 1), -1, device=logits.device)
        return Recognition(
            logits[:, None],
            options=none,
            boxes_px=none.new_zeros(len(logits), 1, 4),
            attended=none >= 0,
            gmacs=gmacs[:, None],
            segments=none,
        )

    @staticmethod
    def join(parts: Sequence[Recognition], dim: int = 0) -> Recognition:
        """Return several as one: of other videos (``dim`` 0), or of frames in turn (1)."""
        columns = zip(*(vars(part).values() for part in parts), strict=True)
        return Recognition(*(torch.cat(column, dim) for column in columns))

    def videos(self) -> list[Recognition]:
        """Return that of each video, with B = 1."""
        rows = range(len(self.logits))
        return [Recognition(*(part[i : i + 1] for part in vars(self).values())) for i in rows]


def _check_names(classes: object) -> None:
    if type(classes) is not tuple or not all(type(each) is str for each in classes):
        raise ValueError(f"classes must be names; got {classes!r:.80}")


def _classes_and_exits(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return what content has of both, as configs have it."""
    parts: dict[str, Any] = {}
    if isinstance(content.get("classes"), list):  # JSON's; anything else is refused by the config
        parts["classes"] = tuple(content["classes"])
    if "exits" in content:
        parts["exits"] = ExitRule.of(content["exits"])
    return parts
