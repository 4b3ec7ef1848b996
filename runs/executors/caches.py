"""Caches that are built and checked in parts, each a unit that is done anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from ...feature_cache import CacheConfig, build_cache, merge_shards, read_manifest, verify_cache
from ...feature_cache.building.build import Decoding, identity_of
from ...feature_cache.reading.arrays import read_table
from ...feature_cache.reading.manifest import CacheError, is_complete
from ...feature_cache.reading.rows import cache_rows, shard_rows
from ...recognizer import Encoder
from ..configs.cache import CacheVerifyConfig
from .decoding import read_anywhere
from .parts import building_alone, parts_begun, parts_folder, parts_in, remove_parts
from .units import Executor, Unit

# Rows of a part; on a GPU each part starts a process of its own, with CUDA and decoders.
_ROWS, _ROWS_ON_CUDA = 16, 512
_MOST = 256  # parts, each of which keeps the encoders' weights until the end


def build_apart(
    do: Executor,
    videos: pd.DataFrame,
    classes: list[str],
    root: Path,
    encoders: Mapping[str, Encoder],
    config: CacheConfig,
    *,
    shards: int | None = None,
    skip_missing: bool = False,
    restart: bool = False,
    videos_root: Path,
    decoders: int | None = None,
) -> Path:
    """Build a cache in parts, and merge them: byte for byte what `build_cache` writes.

    What is finished of a build that was interrupted is not built again. Of what is in
    ``ROOT.shards`` only parts are removed, and anything else that is there is refused.

    Args:
        do: Builds the parts, each with the videos at the same paths.
        videos: As of `build_cache`, like all that is not named here.
        classes: Names of the C classes.
        root: The cache's folder; the parts are in ``ROOT.shards`` until they are merged.
        encoders: f_G as ``glance``, and the encoders that the option groups name.
        config: What is stored of a video.
        shards: How many parts; None for as many as were begun, or one for 16 rows, on CUDA for
            512, at most 256.
        skip_missing: Go on without videos that cannot be read.
        restart: Throw away what was begun with other settings, or in another number of parts.
        videos_root: The folder of the videos.
        decoders: Videos that are decoded for a part at a time, on any CPUs of a Ray cluster; None
            decodes them where the part is built.

    Returns:
        ``root``.

    Raises:
        CacheError: As `build_cache`, `merge_shards` and `parts_begun`; or if another process
            builds this cache.
        FailedError: If a part could not be built; the others are kept.
        ShardError: If there are more parts than rows.
    """
    videos = videos.assign(path=[str(Path(path).absolute()) for path in videos["path"]])
    rows = cache_rows(videos, config.augment)
    identity = identity_of(rows, classes, encoders, config, None)
    apart = parts_folder(root)
    if is_complete(root, identity) and not apart.exists():
        return root
    build = partial(
        _build_part,
        videos,
        classes,
        encoders,
        config,
        {
            "skip_missing": skip_missing,
            "restart": restart,
            "videos_root": videos_root,
            "decoding": Decoding() if decoders is None else Decoding(read_anywhere, decoders),
        },
    )
    if shards is not None:
        shard_rows(len(rows), (1, shards))  # refuses more parts than rows
    with building_alone(root):
        if is_complete(root, identity):
            _remove_merged(apart, identity)
            return root
        begun = parts_begun(apart, len(rows), shards, restart)
        n = begun or shards or min(_MOST, -(-len(rows) // _rows_of_part(config.device)))
        places = {(i, n): apart / f"{i}-of-{n}" for i in range(1, n + 1)}
        units = {
            f"shard {i}/{n}": Unit((place, (i, n)), place)
            for (i, _), place in places.items()
            if not _is_built(place, {**identity, "shard": [i, n]}, restart)
        }
        do(build, units, "feature cache", n - len(units), "shard")
        merge_shards([*places.values()], root)
        remove_parts(parts_in(apart))
    return root


def verify_apart(do: Executor, config: CacheVerifyConfig) -> list[str]:
    """Check a cache in parts; what is wrong, one sentence each, as `verify_cache` says it."""
    n_rows = len(read_table(config.cache, read_manifest(config.cache), with_facts=False))
    n = max(1, min(_MOST, n_rows // _rows_of_part(device_of_cache(config.cache))))
    units = {f"part {i}/{n}": Unit((config, (i, n))) for i in range(1, n + 1)}
    wrong = do(_verify_part, units, "verify", 0, "part")
    return [*dict.fromkeys(sentence for part in wrong.values() for sentence in part)]


def device_of_cache(root: Path) -> str:
    """Return where the features of a cache were computed, and are again: ``cpu`` or ``cuda``."""
    return str(read_manifest(root)["depends_on"]["device"])


def _rows_of_part(device: str) -> int:
    return _ROWS if device == "cpu" else _ROWS_ON_CUDA


def _is_built(place: Path, identity: Mapping[str, Any], restart: bool) -> bool:
    """Return whether a part is complete; one with other settings is removed, if that is asked."""
    try:
        return is_complete(place, identity)
    except CacheError:
        if not restart:
            raise
        remove_parts([place])
        return False


def _remove_merged(apart: Path, identity: Mapping[str, Any]) -> None:
    """Remove what is left where a build was interrupted after the merge; nothing of others."""
    parts = parts_in(apart)
    with suppress(CacheError):  # parts of another cache, which stay
        for place, part in parts.items():
            if not place.suffix:
                is_complete(place, {**identity, "shard": [*part]})
            elif place.suffix == ".partial":  # merged parts have none
                return
        remove_parts(parts)


def _build_part(
    videos: pd.DataFrame,
    classes: list[str],
    encoders: Mapping[str, Encoder],
    config: CacheConfig,
    options: Mapping[str, Any],
    place: Path,
    shard: tuple[int, int],
) -> None:
    build_cache(videos, classes, place, encoders, config, shard=shard, **options)


def _verify_part(config: CacheVerifyConfig, part: tuple[int, int]) -> list[str]:
    return verify_cache(config.cache, config.sample, config.seed, config.videos_root, part)
