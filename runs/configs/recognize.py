"""What the verb ``recognize`` takes."""

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
