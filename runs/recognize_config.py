"""What ``recognize`` and ``import-checkpoint`` take from the command line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional


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

    recognizer: Positional[Path]
    videos: Positional[tuple[Path, ...]]
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

    checkpoint: Positional[Path]
    out: Positional[Path]
    patch: int
    steps: int = 16
    classes: Path | None = None
    cache: Path | None = None
