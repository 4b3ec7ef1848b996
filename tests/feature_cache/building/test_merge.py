"""Shards, built apart and merged, are the cache that one build writes."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import small_group

from focusgym.feature_cache import (
    AugmentConfig,
    CacheConfig,
    CacheError,
    FeatureCache,
    build_cache,
    merge_shards,
)
from focusgym.feature_cache.building import merge
from focusgym.feature_cache.reading.rows import shard_rows
from focusgym.recognizer import Encoder, PatchGrid

CLASSES = [str(i) for i in range(10)]
Encoders = dict[str, Encoder]


def contents(folder: Path) -> dict[str, bytes]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture
def shards(
    videos: pd.DataFrame, encoders: Encoders, config: CacheConfig, tmp_path: Path
) -> list[Path]:
    return [
        build_cache(videos, CLASSES, tmp_path / f"part{i}", encoders, config, shard=(i, 3))
        for i in (1, 2, 3)
    ]


@given(st.integers(1, 300), st.integers(1, 20))
def test_shards_divide_the_rows(n_rows: int, parts: int) -> None:
    if parts <= n_rows:
        shares = [shard_rows(n_rows, (part, parts)) for part in range(1, parts + 1)]
        assert np.concatenate(shares).tolist() == list(range(n_rows))
        sizes = [len(share) for share in shares]
        assert max(sizes) - min(sizes) <= 1


def test_merged_shards_are_one_build(
    videos: pd.DataFrame, encoders: Encoders, config: CacheConfig, tmp_path: Path
) -> None:
    # With a broken video in the middle shard, copies of videos, and two groups.
    (tmp_path / "text.mp4").write_text("text")
    paths = [*videos["path"][:2], str(tmp_path / "text.mp4"), *videos["path"][3:]]
    damaged = videos.assign(path=paths)
    groups = (small_group(PatchGrid(64, 28)), small_group(PatchGrid(64, 20, 2)))
    config = replace(config, groups=groups, augment=AugmentConfig(2))

    def build(name: str, shard: tuple[int, int] | None) -> Path:
        return build_cache(
            damaged,
            CLASSES,
            tmp_path / name,
            encoders,
            config,
            shard=shard,
            skip_missing=True,
        )

    unsharded = contents(build("whole", None))
    parts = [build(f"part{i}", (i, 3)) for i in (1, 2, 3)]
    merged = merge_shards([parts[2], parts[0], parts[1]], tmp_path / "merged")
    assert contents(merged) == unsharded
    assert FeatureCache.open(merged, "p20_2x2").n_videos == 8
    assert merge_shards(parts, merged) == merged, "complete already"


def test_a_merge_that_was_stopped_goes_on(
    built: FeatureCache, shards: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, done = merge.checksum, []

    def stop(features: dict[str, np.ndarray]) -> str:
        done.append(0)
        if len(done) == 4:
            raise KeyboardInterrupt
        return real(features)

    monkeypatch.setattr(merge, "checksum", stop)
    with pytest.raises(KeyboardInterrupt):
        merge_shards(shards, tmp_path / "m")
    assert contents(merge_shards(shards, tmp_path / "m")) == contents(built.root)
    assert len(done) == 4 + 2


def test_shards_that_do_not_fit_are_refused(
    built: FeatureCache,
    shards: list[Path],
    videos: pd.DataFrame,
    encoders: Encoders,
    config: CacheConfig,
    tmp_path: Path,
) -> None:
    root = tmp_path / "m"
    with pytest.raises(CacheError, match="is shard 2/3 of a cache: merge the shards first"):
        FeatureCache.open(shards[1])
    with pytest.raises(CacheError, match="no shards were given: name the folders"):
        merge_shards([], root)
    with pytest.raises(CacheError, match="is a whole cache, not a shard: leave it out"):
        merge_shards([built.root], root)
    with pytest.raises(CacheError, match="part1 and .*part1 are both shard 1/3: give one"):
        merge_shards([shards[0], shards[0]], root)
    with pytest.raises(CacheError, match="shard.s. 2/3, 3/3 are not among those given"):
        merge_shards(shards[:1], root)
    damaged = tmp_path / "damaged"
    shutil.copytree(shards[0], damaged)
    manifest = json.loads((damaged / "manifest.json").read_text())
    (damaged / "manifest.json").write_text(json.dumps({**manifest, "shard": [1, 2**62]}))
    with pytest.raises(CacheError, match=r"4/\d+, .* and \d+ others are not among those given"):
        merge_shards([damaged], root)
    with pytest.raises(CacheError, match="the shards are of 3 and of 4611686018427387904: give"):
        merge_shards([damaged, shards[1]], root)
    with pytest.raises(CacheError, match="is not a complete feature cache"):
        merge_shards([tmp_path / "nowhere"], root)
    other = build_cache(
        videos,
        CLASSES,
        tmp_path / "other",
        encoders,
        replace(config, dtype="float32"),
        shard=(2, 3),
    )
    message = r"of different caches \(dtype differ\): build all shards"
    with pytest.raises(CacheError, match=message):
        merge_shards([shards[0], other, shards[2]], root)
    fewer = build_cache(videos[:3], CLASSES, tmp_path / "f", encoders, config, shard=(2, 3))
    with pytest.raises(CacheError, match=r"of different caches \(rows differ\)"):
        merge_shards([shards[0], fewer], root)
    array = shards[1] / "glance_maps.npy"
    data = bytearray(array.read_bytes())
    data[-7] ^= 1
    array.write_bytes(data)
    with pytest.raises(CacheError, match="part2: the checksum of .* expected .*: the shard is dam"):
        merge_shards(shards, root)
    assert not root.exists()
