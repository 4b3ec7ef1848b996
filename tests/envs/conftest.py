"""What the environments' tests play on: a synthetic cache, and one of real video files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from digit_caches import digit_cache
from support import write_classifier

from focusgym.feature_cache import CacheConfig, DigitsConfig, FeatureCache
from focusgym.recognizer import Encoder, EncoderConfig, FrameConfig, PatchGrid, option_group


@pytest.fixture
def files(cache: FeatureCache, classifier_path: Path) -> dict[str, str]:
    """Keywords of an environment on the synthetic cache, whose videos are no files."""
    return {"cache": str(cache.root), "classifier": str(classifier_path)}


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Keywords of an environment on a cache of five digit videos, three to train."""
    root = tmp_path_factory.mktemp("real")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoders = {
            "glance": Encoder(EncoderConfig("small_glance", input_px=12)).eval(),
            "local": Encoder(EncoderConfig("small_local")).eval(),
        }
    group = option_group(PatchGrid(64, 28), "local", encoders["local"])
    config = CacheConfig(FrameConfig(steps=3, frame_px=64), (group,))
    digits = DigitsConfig(n_train=3, n_val=1, n_test=1, n_frames=6)
    cache = digit_cache(root, digits, encoders, config)
    path = root / "classifier"
    write_classifier(cache, path)
    return {"cache": str(cache.root), "classifier": str(path)}
