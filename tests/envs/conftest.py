"""What the environments' tests play on: a synthetic cache, and one of real video files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from focusgym.feature_cache import (
    CacheConfig,
    DigitsConfig,
    FeatureCache,
    build_cache,
    make_digits,
    video_table,
)
from focusgym.recognizer import (
    ClassifierConfig,
    Encoder,
    EncoderConfig,
    FrameConfig,
    GruClassifier,
    PatchGrid,
    option_group,
    write_bundle,
)


@pytest.fixture
def files(cache: FeatureCache, classifier_path: Path) -> dict[str, str]:
    """Keywords of an environment on the synthetic cache, whose videos are no files."""
    return {"cache": str(cache.root), "classifier": str(classifier_path)}


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Keywords of an environment on a cache of five digit videos, three to train."""
    root = tmp_path_factory.mktemp("real")
    table = make_digits(DigitsConfig(n_train=3, n_val=1, n_test=1, n_frames=6), root / "videos")
    paths = [str(root / "videos" / path) for path in table["path"]]
    videos = video_table(paths, table["label"].tolist(), table["split"].tolist())
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoders = {
            "glance": Encoder(EncoderConfig("small_glance", input_px=12)).eval(),
            "local": Encoder(EncoderConfig("small_local")).eval(),
        }
        group = option_group(PatchGrid(64, 28), "local", encoders["local"])
        config = CacheConfig(FrameConfig(steps=3, frame_px=64), (group,))
        digits = [str(i) for i in range(10)]
        cache = FeatureCache.open(build_cache(videos, digits, root / "cache", encoders, config))
        widths = cache.map_shape[2], cache.local_channels
        classifier = GruClassifier(ClassifierConfig(*widths, cache.n_classes, hidden=5)).eval()
    path = root / "classifier"
    write_bundle(path, "classifier", classifier.config, classifier, cache.fingerprint)
    return {"cache": str(cache.root), "classifier": str(path)}
