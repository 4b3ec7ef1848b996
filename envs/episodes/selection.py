"""Which videos and which options of a cache an environment plays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ...feature_cache import FeatureCache
from ..config import EnvConfig


def videos_to_play(cache: FeatureCache, config: EnvConfig) -> NDArray[np.int64]:
    """Return the rows that an environment plays, in the order of the list or of the cache.

    Raises:
        CacheError: If there is no such split.
        ValueError: If ``config.videos`` are not different rows of it, at least one.
    """
    if config.split is None:
        rows = np.flatnonzero(cache.videos["split"].to_numpy() != "skipped")
    else:
        rows = cache.split(config.split)
    if config.videos is None:
        return rows
    chosen = _integers("videos", config.videos)
    strangers = np.setdiff1d(chosen, rows)
    if not len(chosen) or len(strangers) or len(np.unique(chosen)) < len(chosen):
        raise ValueError(
            f"videos must be different rows of split {config.split!r}, at least one; got "
            f"{len(chosen)}, {len(np.unique(chosen))} of them different, not in it: "
            f"{strangers[:5].tolist()}"
        )
    return chosen


def chosen_video(cache: FeatureCache, video: int) -> int:
    """Return a row that a reset asks for.

    Raises:
        ValueError: If it is no row of the cache, or its video was skipped when that was built.
    """
    known = isinstance(video, int | np.integer) and not isinstance(video, bool)
    known = known and 0 <= video < cache.n_videos
    if not known or cache.videos["split"][int(video)] == "skipped":
        raise ValueError(
            f"a chosen video must be a row of the cache in [0, {cache.n_videos}) that could be "
            f"read when it was built; got {video!r}"
        )
    return int(video)


def allowed_options(options: Sequence[int] | None, n_options: int) -> NDArray[np.bool_]:
    """Return which of the K options may be chosen, ``(K,)``; None allows all.

    Raises:
        ValueError: If there is none, one is out of range, or they are no integers.
    """
    mask = np.ones(n_options, dtype=bool)
    if options is not None:
        allowed = _integers("options_allowed", options)
        if not len(allowed) or allowed.min() < 0 or allowed.max() >= n_options:
            raise ValueError(
                f"options_allowed must be options in [0, {n_options}), at least one; got "
                f"{list(options)}"
            )
        mask[:] = False
        mask[allowed] = True
    return mask


def _integers(name: str, values: Sequence[int]) -> NDArray[np.int64]:
    integers = np.asarray(values)
    if integers.ndim != 1 or (len(integers) and integers.dtype.kind not in "iu"):
        raise ValueError(
            f"{name} must be a list of integers; got {integers.dtype} of shape {integers.shape}"
        )
    return integers.astype(np.int64)
