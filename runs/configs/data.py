"""What the verbs ``data …`` take."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg, subcommand


@dataclass(frozen=True)
class DataConfig:
    """What embedded data sets have in common.

    Attributes:
        out: Folder for the videos, their list, the true boxes, and names of classes if they have
            some.
        seed: Of every draw.
        n_train: Training videos.
        n_val: Videos to select on.
        n_test: Videos to report on.
        n_frames: Frames of a video.
        json: Print one JSON object and nothing else.
    """

    out: Annotated[Positional[Path], arg(metavar="OUT")]
    seed: int = 0
    n_train: int = 2400
    n_val: int = 300
    n_test: int = 1000
    n_frames: int = 12
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

    visible_share: float = 0.7
    decoys: int = 0
    digit_px: int = 20
    largest_digit_px: int | None = None


@dataclass(frozen=True)
class DataPairsConfig(DataConfig):
    """Write videos of two digits, one after the other: the class is which two in which order.

    Five digits, 20 classes: without the order of frames at most half of the videos can be told.
    """

    n_frames: int = 24


@dataclass(frozen=True)
class DataVerbs:
    """Write an embedded data set as video files: digits, digit-pairs.

    Attributes:
        verb: Which one.
    """

    verb: (
        Annotated[DataDigitsConfig, subcommand("digits")]
        | Annotated[DataPairsConfig, subcommand("digit-pairs")]
    )
