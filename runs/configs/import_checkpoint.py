"""What the verb ``import-checkpoint`` takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg


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
        json: Print one JSON object, report.json and what a video costs, and nothing else.
    """

    checkpoint: Annotated[Positional[Path], arg(metavar="CHECKPOINT")]
    out: Annotated[Positional[Path], arg(metavar="OUT")]
    patch: int
    steps: int = 16
    classes: Path | None = None
    cache: Path | None = None
    json: bool = False
