"""What the verb ``import-checkpoint`` takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg


@dataclass(frozen=True)
class ImportConfig:
    """Turn a released checkpoint of AdaFocus, AdaFocusV2 or AFNet into bundles.

    Of the ActivityNet, FCVID and Mini-Kinetics experiments; of AdaFocus also of those on
    Something-Something; of AFNet those with an AF-ResNet-50 or 101. Which it is, is read from its
    content.

    Attributes:
        checkpoint: The .pth.tar; nothing in it is executed.
        out: Folder of the bundles recognizer, classifier, glance and local; of AdaFocus also of
            policy; of AFNet of recognizer alone.
        patch: Patch side P that it was trained with, pixels: the file does not tell. AFNet has
            none, all others need it.
        steps: T that it was trained with: 16 if nothing is given; of Something-Something 1, the
            clip; of AFNet what the file says.
        local_frames: For Something-Something, how many frames of the clip f_L was trained with.
        shift: For AFNet, whether it was trained with the temporal shift (AFNet-TSM): the file does
            not tell.
        classes: File with the name of a class in each line.
        cache: A feature cache of these encoders: policy and classifier are then for it. Not of
            AdaFocusV2 and Something-Something, which look between the patches of a grid.
        json: Print one JSON object, report.json and what a video costs, and nothing else.
    """

    checkpoint: Annotated[Positional[Path], arg(metavar="CHECKPOINT")]
    out: Annotated[Positional[Path], arg(metavar="OUT")]
    patch: int | None = None
    steps: int | None = None
    local_frames: int = 12
    shift: Literal["offline"] | None = None
    classes: Path | None = None
    cache: Path | None = None
    json: bool = False
