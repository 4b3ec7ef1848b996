"""Which rows are looked at: those of a split, and those that were chosen by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..options.parse import UsageError
from .contract import Footage


def rows_of(videos: Sequence[int], footage: Footage, split: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the rows of a split, then the chosen ones that are not of it.

    Args:
        videos: Rows that were chosen by hand.
        footage: Where videos are known.
        split: Rows of the split.

    Raises:
        UsageError: If a chosen row cannot be shown, or is chosen twice.
    """
    by_hand, n_videos = np.array(videos, dtype=np.int64), len(footage.table)
    known = by_hand[(by_hand >= 0) & (by_hand < n_videos)]
    skipped = known[footage.table["split"].to_numpy()[known] == "skipped"]
    if len(known) < len(by_hand) or len(skipped):
        raise UsageError(
            f"--videos must be rows of {footage.listed_in} in [0, {n_videos}) that could be read; "
            f"got {list(videos)}: see the rows in {footage.rows_in}, from 0"
        )
    if len(np.unique(by_hand)) < len(by_hand):
        raise UsageError(f"--videos must be different rows; got {list(videos)}: give each once")
    return np.concatenate([split, np.setdiff1d(by_hand, split)])
