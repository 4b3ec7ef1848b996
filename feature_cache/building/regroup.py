"""A cache of the same videos, frames and encoders as another one, with other places."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from ...recognizer import Places, option_group
from ..reading.manifest import GLANCE
from ..reading.rows import SKIPPED
from ..reading.store import FeatureCache
from ..reading.tables import FACTS
from .build import build_cache
from .encode import config_of


def build_regrouped(cache: FeatureCache, places: Places, root: str | os.PathLike[str]) -> Path:
    """Encode the videos of a cache once more, with another option group.

    Args:
        cache: Says which videos and frames, and which f_L: that of its one opened group.
        places: Where the options are; for frames of the same side.
        root: Folder of the new cache; see `build_cache`.

    Returns:
        ``root``.

    Raises:
        ValueError: If the places are for other frames.
        CacheError: If several groups are opened, or as `build_cache`.
        VideoError: As `FeatureCache.clips`.
    """
    kept = (cache.videos["split"] != SKIPPED) & (cache.videos["view"] <= 0)
    rows = cache.videos[kept]
    videos = rows.drop(columns=["view", *FACTS]).reset_index(drop=True)
    glance, local = cache.encoders()
    n_frames = cache.frames.segment_frames
    group = option_group(places, cache.group.encoder, local, segment_frames=n_frames)
    config = replace(config_of(cache.manifest), groups=(group,))
    if not Path(root).exists():
        cache.clips(np.flatnonzero(kept))
    return build_cache(
        videos.assign(missing=""),
        cache.classes,
        root,
        {GLANCE: glance, group.encoder: local},
        config,
        videos_root=cache.videos_root,
    )
