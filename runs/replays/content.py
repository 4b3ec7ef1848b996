"""What the pages of ``replay`` show, as JSON-able values."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ...feature_cache import FeatureCache
from ...recognizer import in_words
from ..evaluation.plug_back import CENTRAL, true_boxes
from ..options.parse import UsageError
from .episodes import Episode, Looker
from .interest import Pick
from .listing import labels_of

_JPEG_QUALITY = 85


def describe_policies(lookers: Sequence[Looker]) -> list[dict[str, Any]]:
    """Return name and kind of each policy; ρ, and the price of a look, where it has π′.

    ``folder`` is the name of the run or of the bundle, for who has several.
    """
    return [
        {
            "name": looker.name,
            "folder": looker.trained.name if looker.policy else None,
            "learned": looker.policy is not None,
            "threshold": looker.policy.config.threshold if looker.policy else None,
            "price": str(looker.price) if looker.can_skip else None,
        }
        for looker in lookers
    ]


def describe_video(
    video: int, pick: Pick, episodes: Sequence[Episode], cache: FeatureCache, truth: list[Any]
) -> dict[str, Any]:
    """Return what is known of a video, and its episodes, one per policy.

    Args:
        video: Row of the cache.
        pick: Why it is shown.
        episodes: Of it.
        cache: The feature cache.
        truth: Its true boxes, as `boxes_of` gives them.
    """
    record = episodes[0].record
    return {
        "row": video,
        "name": record.name,
        "label": record.label,
        "labels": labels_of(cache, video),
        "kind": pick.kind,
        "why": pick.why,
        "frame_indices": record.frames.middle(record.view.frame_indices).tolist(),
        "true_boxes": truth,
        "episodes": [episode.facts(cache.classes, labels_of(cache, video)) for episode in episodes],
    }


def boxes_of(
    cache: FeatureCache, boxes: pd.DataFrame | None, videos: NDArray[np.int64]
) -> list[list[dict[str, Any] | None]]:
    """Return the true boxes of videos ``(B,)``: for each, T boxes, or None where none is known.

    A box has ``px``, (left, top, right, bottom) in the S×S frame, and ``visible``.

    Raises:
        UsageError: If the table says two boxes for a frame, or something else than numbers.
    """
    if boxes is None:
        return [[None] * cache.steps for _ in videos]
    again = boxes[boxes.duplicated(["path", "frame"])]
    if len(again):
        path, frame = again.iloc[0][["path", "frame"]]
        raise UsageError(
            f"--boxes has more than one box for frame {frame} of {path}: expected one row for each "
            "path and frame; give a table without repeats"
        )
    columns = ["left", "top", "right", "bottom", "visible"]
    try:
        boxes = boxes.astype(dict.fromkeys(["frame", *columns], np.float64))
    except ValueError as error:
        raise UsageError(
            f"--boxes holds something else than numbers ({in_words(error)}): expected an index for "
            "frame, pixels, and True or False for visible"
        ) from error
    numbers = true_boxes(cache, boxes)[columns].to_numpy()  # NaN where there is no box
    frames = numbers.reshape(cache.n_videos, cache.steps, 5)[videos]
    return [
        [
            {"px": frame[:4].tolist(), "visible": bool(frame[4])}
            if np.isfinite(frame).all()
            else None
            for frame in of_video
        ]
        for of_video in frames
    ]


def say_missing_boxes(cache: FeatureCache, truth: list[Any], videos: NDArray[np.int64]) -> str:
    """Return why some videos ``(B,)`` are shown without the boxes of a table; empty if none are.

    Args:
        cache: The feature cache.
        truth: What `boxes_of` found for them.
        videos: Rows of the cache.
    """
    central = cache.videos["view"].to_numpy()[videos] == CENTRAL
    if not central.all():
        return (
            "augmented copies are shown without true boxes: those of the table are of the central "
            "crop"
        )
    return "" if any(map(any, truth)) else "the table of boxes has none of these frames"


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
