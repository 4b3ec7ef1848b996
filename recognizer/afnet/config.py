"""What an AF network is: its backbone, its gates and how its branches are joined.

Imports nothing heavy.
"""

from __future__ import annotations

import difflib
from dataclasses import KW_ONLY, asdict, dataclass
from typing import Any, Literal, get_args

from ..encoders.config import SHIFT_KINDS, ShiftKind
from ..files.typed import is_finite
from ..limits import MOST_FRAMES

Backbone = Literal["small", "resnet34", "resnet50", "resnet101", "mobilenet_v3"]
FusionKind = Literal["dynamic", "addition"]
FUSIONS: tuple[FusionKind, ...] = get_args(FusionKind)
SelectionKind = Literal["hard", "soft"]
SELECTIONS: tuple[SelectionKind, ...] = get_args(SelectionKind)
# How the temperature of the gates' gradient falls.
ScheduleKind = Literal["exponential", "cosine", "linear"]
SCHEDULES: tuple[ScheduleKind, ...] = get_args(ScheduleKind)


@dataclass(frozen=True)
class ResNet:
    """Sizes of a residual network that is built of AF modules.

    Attributes:
        is_bottleneck: Whether its blocks are Bottlenecks (1×1, 3×3, 1×1), or BasicBlocks (two 3×3).
        stem_channels: Channels after its stem.
        is_small: Whether the stem is one 3×3 convolution of stride 2, without max-pooling, instead
            of a 7×7 one and max-pooling, both of stride 2.
        channels: After each stage.
        blocks: In each stage; all stages but the last are AF modules, of which the last block
            follows the fusion of the branches.
    """

    is_bottleneck: bool
    stem_channels: int
    is_small: bool
    channels: tuple[int, ...]
    blocks: tuple[int, ...]


RESNETS: dict[str, ResNet] = {
    "small": ResNet(False, 16, True, (16, 32, 64), (3, 3, 1)),
    "resnet34": ResNet(False, 64, False, (64, 128, 256, 512), (3, 4, 6, 3)),
    "resnet50": ResNet(True, 64, False, (256, 512, 1024, 2048), (3, 4, 6, 3)),
    "resnet101": ResNet(True, 64, False, (256, 512, 1024, 2048), (4, 8, 18, 3)),
}
MOBILENET: Backbone = "mobilenet_v3"

# Every number of channels of MobileNet-V3 is a multiple of it.
_MULTIPLE = 8


@dataclass(frozen=True, kw_only=True)
class AFNetSettings:
    """How an AF network's gates and branches are: what library and command line have in common.

    Attributes:
        shift: How channels are shifted along the frames in each residual branch; None: not at all.
        fusion: How the branches are joined: with learned weights of their channels (``dynamic``),
            or by ``addition``.
        selection: Whether a gate keeps a frame or does not (``hard``), or weights it (``soft``), so
            that no frame is skipped.
        keep_score: What the score to keep a frame begins with; that to skip it begins with 1. The
            nearer, the sooner a gate learns to skip: at 10, the released value, the gradient is a
            ten-thousandth at first, which is too little for a short training.
        dropout: Before the last layer, in training.
    """

    shift: ShiftKind | None = None
    fusion: FusionKind = "dynamic"
    selection: SelectionKind = "hard"
    keep_score: float = 10.0
    dropout: float = 0.5


@dataclass(frozen=True)
class AFNetConfig(AFNetSettings):
    """What an AF network is: its sizes, and see `AFNetSettings` for the other settings.

    Attributes:
        backbone: ``small`` (this project's, for the embedded data sets), ``resnet34``,
            ``resnet50``, ``resnet101`` or ``mobilenet_v3`` (large).
        n_classes: C.
        n_frames: T, the frames of every video: the last layer of a gate has weights of its own for
            each of them.
        ample_divisor: What the channels of the ample branch are divided by (alpha); None is as
            published: 2, of ``mobilenet_v3`` 1.
        focal_groups: Groups of the convolutions of the focal branch.
        spatial: Whether there is a second gate in each block, that keeps positions of the focal
            branch's input and sets the others to zero; see `SpatialNavigation`.

    Raises:
        ValueError: If a name is unknown or a number is out of range.

    Source: supplement of AFNet, Table 7 (``resnet50``) and sections 2, 3, 5 and 8; the depths of
        ``resnet101``, alpha and the groups are those of its released code, which has no
        ``resnet34``: its sizes are ResNet-34's.
    """

    backbone: str
    n_classes: int
    n_frames: int
    _: KW_ONLY
    ample_divisor: int | None = None
    focal_groups: int = 2
    spatial: bool = False

    def __post_init__(self) -> None:
        """Check the names and the numbers."""
        backbones = (*RESNETS, MOBILENET)
        if self.backbone not in backbones:
            close = difflib.get_close_matches(str(self.backbone), backbones, 1)
            hint = f": did you mean {close[0]!r}?" if close else ""
            raise ValueError(
                f"backbone must be one of {', '.join(backbones)}; got {self.backbone!r}{hint}"
            )
        for name in ("n_classes", "n_frames", "ample_divisor", "focal_groups"):
            number = getattr(self, name)
            if number is not None and (type(number) is not int or number < 1):
                raise ValueError(f"{name} must be a whole number of at least 1; got {number!r}")
        if max(self.n_classes, self.n_frames) > MOST_FRAMES:
            raise ValueError(f"n_classes and n_frames must be at most {MOST_FRAMES}; got {self}")
        if type(self.spatial) is not bool:
            raise ValueError(f"spatial must be True or False; got {self.spatial!r}")
        if not is_finite(self.keep_score):
            raise ValueError(f"keep_score must be a finite number; got {self.keep_score}")
        for name, known in (("fusion", FUSIONS), ("selection", SELECTIONS)):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"{name} must be one of {', '.join(known)}; got {getattr(self, name)!r}"
                )
        if self.shift is not None and self.shift not in SHIFT_KINDS:
            raise ValueError(
                f"shift must be None or one of {', '.join(SHIFT_KINDS)}; got {self.shift!r}"
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1); got {self.dropout}")
        parts = _MULTIPLE
        if self.backbone in RESNETS:
            sizes = RESNETS[self.backbone]
            inner = 4 if sizes.is_bottleneck else 1  # a Bottleneck narrows to a quarter
            parts = min(sizes.stem_channels, *(n // inner for n in sizes.channels))
        for name, number in (("ample_divisor", self.divisor), ("focal_groups", self.focal_groups)):
            if parts % number:
                raise ValueError(
                    f"{name} must divide {parts}, of which all channels of {self.backbone} are "
                    f"multiples; got {number}: take 1, 2 or 4"
                )

    @property
    def divisor(self) -> int:
        """What the channels of the ample branch are divided by."""
        if self.ample_divisor is not None:
            return self.ample_divisor
        return 1 if self.backbone == MOBILENET else 2

    def describe(self) -> dict[str, Any]:
        """Return the values, JSON-able, as bundles hold them."""
        return asdict(self)
