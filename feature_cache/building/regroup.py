"""A cache of the same videos, frames and encoders as another one, with other patches."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from ...recognizer import PatchGrid
from ..reading.rows import SKIPPED
from ..reading.store import FeatureCache
from ..reading.tables import FACTS
from .build import build_cache
from .encode import config_of


def build_regrouped(cache: FeatureCache, grid: PatchGrid, root: str | os.PathLike[str]) -> Path:
    """Encode the videos of a cache once more, with another option group.

    Args:
        cache: Says which videos, frames and encoders.
        grid: Where the options are; for frames of the same side.
        root: Folder of the new cache; see `build_cache`.

    Returns:
        ``root``.

    Raises:
        ValueError: If the grid is for other frames.
        CacheError: As `build_cache`.
        VideoError: As `FeatureCache.clips`.
    """
    kept = (cache.videos["split"] != SKIPPED) & (cache.videos["view"] <= 0)
    rows = cache.videos[kept]
    videos = rows.drop(columns=["view", *FACTS]).reset_index(drop=True)
    config = replace(config_of(cache.manifest), grids=(grid,))
    if not Path(root).exists():
        cache.clips(np.flatnonzero(kept))
    return build_cache(
        videos.assign(missing=""),
        cache.classes,
        root,
        *cache.encoders(),
        config,
        videos_root=cache.videos_root,
    )
