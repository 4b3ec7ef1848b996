"""Caches of a few digit videos, whose pixels are there to be read again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from focusgym.feature_cache import (
    CacheConfig,
    DigitsConfig,
    FeatureCache,
    build_cache,
    make_digits,
    video_table,
)
from focusgym.recognizer import Encoder


def digit_cache(
    root: Path,
    digits: DigitsConfig,
    encoders: Mapping[str, Encoder],
    config: CacheConfig,
) -> FeatureCache:
    """Make videos in ``root/videos``, and encode them into ``root/cache``; all groups are open."""
    table = make_digits(digits, root / "videos")
    paths = [str(root / "videos" / path) for path in table["path"]]
    videos = video_table(paths, table["label"].tolist(), table["split"].tolist())
    classes = [str(i) for i in range(10)]
    built = build_cache(videos, classes, root / "cache", encoders, config)
    return FeatureCache.open(built, [group.name for group in config.groups])
