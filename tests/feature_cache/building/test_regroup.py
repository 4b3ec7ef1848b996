"""A cache with other patches is the one that a direct build with them gives, byte for byte."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from recognizers import make_encoder
from support import small_group

from focusgym.feature_cache import (
    AugmentConfig,
    CacheConfig,
    CacheError,
    DigitsConfig,
    FeatureCache,
    VideoError,
    build_cache,
    build_regrouped,
    make_digits,
    video_table,
)
from focusgym.recognizer import FrameConfig, PatchGrid

SMALL, LARGE = PatchGrid(64, 20, 2), PatchGrid(64, 32, 3)
Build = Callable[..., FeatureCache]


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    root = tmp_path_factory.mktemp("regroup") / "digits"
    table = make_digits(DigitsConfig(n_train=3, n_val=1, n_test=2, n_frames=6), root)
    paths = [str(root / path) for path in table["path"]]
    return video_table(paths, table["label"].tolist(), table["split"].tolist())


@pytest.fixture
def build(videos: pd.DataFrame, tmp_path: Path) -> Build:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        glance, local = make_encoder("small_glance", 12), make_encoder("small_local")
        encoders = {"glance": glance, "local": local}

    def build(
        name: str, *grids: PatchGrid, views: int = 0, table: pd.DataFrame = videos, **more: bool
    ) -> FeatureCache:
        augment = AugmentConfig(views, True, 5) if views else None
        config = CacheConfig(FrameConfig(2, 64), tuple(map(small_group, grids)), augment)
        classes = [str(i) for i in range(10)]
        build_cache(table, classes, tmp_path / name, encoders, config, **more)
        return FeatureCache.open(tmp_path / name, grids[0].name)

    return build


def files(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


@pytest.mark.parametrize("views", [0, 2])
def test_a_direct_build(views: int, build: Build, tmp_path: Path) -> None:
    """Arrays, table, manifest, encoders; also of augmented copies, and of two groups."""
    existing = build("there", SMALL, PatchGrid(64, 28, 2), views=views)
    direct = build("direct", LARGE, views=views)
    assert existing.n_videos == 6 + 3 * max(0, views - 1)
    root = tmp_path / "regrouped"
    assert build_regrouped(existing, LARGE, root) == root
    regrouped_files, direct_files = files(root), files(direct.root)
    assert regrouped_files.keys() == direct_files.keys()
    assert f"local_vectors_{LARGE.name}.npy" in regrouped_files
    for name in direct_files:
        assert regrouped_files[name] == direct_files[name], name
    regrouped = FeatureCache.open(root)
    assert regrouped.fingerprint == direct.fingerprint != existing.fingerprint
    np.testing.assert_array_equal(
        regrouped.glance_maps(np.arange(6)), existing.glance_maps(np.arange(6))
    )
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    build_regrouped(existing, LARGE, root)  # done already
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_what_could_not_be_read_is_left_out(
    build: Build, videos: pd.DataFrame, tmp_path: Path
) -> None:
    missing = videos["missing"].where(videos.index != 1, "1.mp4 is missing")
    existing = build(
        "there", SMALL, table=videos.assign(missing=missing), skip_missing=True, views=2
    )
    assert existing.manifest["skipped"]
    regrouped = FeatureCache.open(build_regrouped(existing, LARGE, tmp_path / "regrouped"))
    direct = build("direct", LARGE, table=videos.drop(index=1).reset_index(drop=True), views=2)
    assert files(regrouped.root) == files(direct.root)
    assert json.loads((regrouped.root / "manifest.json").read_text())["skipped"] == []


def test_what_is_refused(build: Build, tmp_path: Path) -> None:
    existing = build("there", SMALL)
    with pytest.raises(ValueError, match="64"):
        build_regrouped(existing, PatchGrid(128, 32, 3), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(
        CacheError, match="is a complete cache of other videos or settings .groups differ"
    ):
        build_regrouped(existing, LARGE, existing.root)
    path = Path(existing.videos["path"][2])
    moved = path.rename(path.with_suffix(".away"))
    try:
        with pytest.raises(VideoError) as caught:
            build_regrouped(existing, LARGE, tmp_path / "out")
    finally:
        moved.rename(path)
    assert str(path) in str(caught.value)
    assert not (tmp_path / "out").exists()
    build_regrouped(existing, LARGE, tmp_path / "out")
