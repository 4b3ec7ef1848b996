"""What the verb ``recognize`` takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from ...recognizer.precisions import Precision
from .devices import Device
from .own import OwnConfig


@dataclass(frozen=True)
class RecognizeConfig(OwnConfig):
    """Recognize video files with a recognizer bundle, or with a system that was trained.

    Attributes:
        videos: Video files.
        bundle: Folder of the recognizer; or of a run of 'focusgym train --system', whose cache and
            classifier are where they were.
        top: How many classes to tell.
        device: Where to compute: cuda:1 is the second GPU; auto takes a GPU where there is one.
        precision: Precision in which the encoders compute.
        gmacs: Budget of a video on average: a video stops at the first prediction that is sure
            enough, by thresholds that are solved for the budget on the validation videos of a run
            of 'focusgym fit cubes' or 'focusgym fit end-to-end'. If it is not given, the bundle's
            exits count, if it has any.
        annotate: Folder for a copy of each video, named like it, that shows where was looked, the
            class so far and the compute so far.
        save: New folder for the recognizer of a run of a system, which needs neither the run nor
            its cache: give it as the bundle wherever it is.
        json: Print one JSON object per video, with the prediction after every frame.
    """

    videos: Annotated[Positional[tuple[Path, ...]], arg(metavar="VIDEO...")]
    bundle: Path = Path("outputs/quickstart/recognizers/adafocus_plus")
    top: int = 3
    device: Device = "cpu"
    precision: Precision = "float32"
    gmacs: float | None = None
    annotate: Path | None = None
    save: Path | None = None
    json: bool = False
