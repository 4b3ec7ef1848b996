"""What the verbs ``data …`` take."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg, subcommand

from ...feature_cache.videos.digit_config import DigitPairsConfig, DigitsConfig, DigitSettings


@dataclass(frozen=True)
class DataConfig(DigitSettings):
    """What embedded data sets have in common.

    Attributes:
        out: Folder for the videos, their list, the true boxes, and names of classes if they have
            some.
        json: Print one JSON object and nothing else.
    """

    out: Annotated[Positional[Path], arg(metavar="OUT")] = field(kw_only=True)
    json: bool = False


@dataclass(frozen=True)
class DataDigitsConfig(DataConfig):
    """Write videos of one small digit that drifts and is hidden at times: the class is which one.

    Ten classes; with the same seed, the videos of the quickstart.

    Attributes:
        visible_share: Expected share of the frames in which the digit is visible.
        decoys: How many more things of the digit's tint there are, which look like it from afar.
        digit_px: Side of the digit's box, pixels of a frame's 64; of the smallest one, if a largest
            is given.
        largest_digit_px: Each video draws the side of its digit between --digit-px and this; all
            are alike if not given.
    """

    visible_share: float = DigitsConfig.visible_share
    decoys: int = DigitsConfig.decoys
    digit_px: int = DigitsConfig.digit_px
    largest_digit_px: int | None = DigitsConfig.largest_digit_px


@dataclass(frozen=True)
class DataPairsConfig(DataConfig):
    """Write videos of two digits, one after the other: the class is which two in which order.

    Five digits, 20 classes: without the order of frames at most half of the videos can be told.
    """

    n_frames: int = DigitPairsConfig.n_frames


@dataclass(frozen=True)
class DataVerbs:
    """Write an embedded data set as video files: digits, digit-pairs.

    Attributes:
        verb: Which data set to write.
    """

    verb: (
        Annotated[DataDigitsConfig, subcommand("digits")]
        | Annotated[DataPairsConfig, subcommand("digit-pairs")]
    )
