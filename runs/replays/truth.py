"""True boxes of the frames that ``replay`` shows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..evaluation.plug_back import CENTRAL, boxes_of_frames


def boxes_of(
    videos: pd.DataFrame, frame_indices: NDArray[np.int64], boxes: pd.DataFrame | None
) -> list[list[dict[str, Any] | None]]:
    """Return the true boxes of B videos: for each, T boxes, or None where none is known.

    A box has ``px``, (left, top, right, bottom) in the S×S frame, and ``visible``.

    Args:
        videos: B rows with ``path`` and ``view``.
        frame_indices: ``(B, T)`` of the frames in their video files.
        boxes: The table, as `read_boxes` reads it; None for none.
    """
    n_videos, steps = frame_indices.shape
    if boxes is None:
        return [[None] * steps for _ in range(n_videos)]
    columns = ["left", "top", "right", "bottom", "visible"]
    # NaN where there is no box.
    numbers = boxes_of_frames(videos, frame_indices, boxes)[columns].to_numpy()
    return [
        [
            {"px": frame[:4].tolist(), "visible": bool(frame[4])}
            if np.isfinite(frame).all()
            else None
            for frame in of_video
        ]
        for of_video in numbers.reshape(n_videos, steps, 5)
    ]


def say_missing_boxes(videos: pd.DataFrame, truth: list[Any]) -> str:
    """Return why some of B videos are shown without the boxes of a table; empty if none are.

    Args:
        videos: B rows with ``view``.
        truth: What `boxes_of` found for them.
    """
    if not (videos["view"] == CENTRAL).all():
        return (
            "augmented copies are shown without true boxes: those of the table are of the central "
            "crop"
        )
    return "" if any(map(any, truth)) else "the table of boxes has none of these frames"
