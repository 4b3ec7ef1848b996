"""A handful of digit videos, the small encoders, and a cache of them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch
from support import small_group

from focusgym.feature_cache import (
    CacheConfig,
    DigitsConfig,
    FeatureCache,
    build_cache,
    make_digits,
    video_table,
)
from focusgym.recognizer import Encoder, EncoderConfig, FrameConfig, PatchGrid

CLASSES = [str(i) for i in range(10)]


@pytest.fixture(scope="session")
def config() -> CacheConfig:
    return CacheConfig(FrameConfig(steps=3, frame_px=64), (small_group(PatchGrid(64, 28)),))


@pytest.fixture
def encoders() -> dict[str, Encoder]:
    torch.manual_seed(0)
    glance = Encoder(EncoderConfig("small_glance", input_px=12)).eval()
    return {"glance": glance, "local": Encoder(EncoderConfig("small_local")).eval()}


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    root = tmp_path_factory.mktemp("digits") / "data"
    table = make_digits(DigitsConfig(n_train=3, n_val=1, n_test=1, n_frames=6), root)
    paths = [str(root / path) for path in table["path"]]
    return video_table(paths, table["label"].tolist(), table["split"].tolist())


@pytest.fixture
def built(
    videos: pd.DataFrame,
    encoders: dict[str, Encoder],
    config: CacheConfig,
    tmp_path: Path,
) -> FeatureCache:
    return FeatureCache.open(build_cache(videos, CLASSES, tmp_path / "built", encoders, config))
