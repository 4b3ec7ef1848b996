"""What the pages of ``replay`` show of a video, as JSON-able values."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from .contract import Episode, Footage, Shot
from .interest import Pick

_JPEG_QUALITY = 85


def describe_video(
    footage: Footage,
    row: int,
    pick: Pick,
    shot: Shot,
    episodes: Sequence[Episode],
    truth: list[Any],
) -> dict[str, Any]:
    """Return what is known of a video, and its episodes, one per policy.

    Args:
        footage: The footage of all videos of the page.
        row: Row of the video in the footage.
        pick: Why it is shown.
        shot: The frames of the video.
        episodes: The episodes of the video, one for each policy.
        truth: Its true boxes, as `boxes_of` gives them.
    """
    labels = footage.labels(row)
    return {
        "row": row,
        "name": footage.name(row),
        "label": footage.label(row),
        "labels": labels,
        "kind": pick.kind,
        "why": pick.why,
        "frame_indices": shot.frame_indices.tolist(),
        "true_boxes": truth,
        "episodes": [episode.facts(footage.classes, labels) for episode in episodes],
    }


def pictures(frames: Tensor) -> list[str]:
    """Return frames ``(T, 3, S, S)`` uint8 as JPEG pictures in data URIs."""
    return [_data_uri(frame) for frame in frames.permute(0, 2, 3, 1).cpu().numpy()]


def mean_picture(frames: Sequence[Tensor]) -> str:
    """Return the mean of all frames ``(T, 3, S, S)`` uint8 of some videos, as `pictures`."""
    means = [of_video.float().mean(dim=0) for of_video in frames]
    (picture,) = pictures(torch.stack(means).mean(dim=0, keepdim=True).round().to(torch.uint8))
    return picture


def _data_uri(frame: NDArray[np.uint8]) -> str:
    file = io.BytesIO()
    # Colours at full resolution: frames may be small, and are shown enlarged.
    Image.fromarray(frame).save(file, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
