"""What ``recognize`` and ``import-checkpoint`` take from the command line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg


@dataclass(frozen=True)
class RecognizeConfig:
    """Recognize video files with a recognizer bundle.

    Attributes:
        recognizer: Its folder.
        videos: Video files.
        top: How many classes to tell.
        device: Where the networks run.
        precision: In which the encoders compute.
        json: Print one JSON object per video, with the prediction after every frame.
    """

    recognizer: Annotated[Positional[Path], arg(metavar="RECOGNIZER")]
    videos: Annotated[Positional[tuple[Path, ...]], arg(metavar="VIDEO...")]
    top: int = 3
    device: Literal["cpu", "cuda"] = "cpu"
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    json: bool = False


@dataclass(frozen=True)
class ImportConfig:
    """Turn a released AdaFocus checkpoint (V1, ActivityNet experiments) into bundles.

    Attributes:
        checkpoint: The .pth.tar; nothing in it is executed.
        out: Folder of the bundles recognizer, policy, classifier, glance and local.
        patch: Patch side P that it was trained with, pixels: the file does not tell.
        steps: T that it was trained with.
        classes: File with the name of a class in each line.
        cache: A feature cache of these encoders: policy and classifier are then for it.
    """

    checkpoint: Annotated[Positional[Path], arg(metavar="CHECKPOINT")]
    out: Annotated[Positional[Path], arg(metavar="OUT")]
    patch: int
    steps: int = 16
    classes: Path | None = None
    cache: Path | None = None
