"""In which precision encoders compute: what is stored, what it is called, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from focusgym.feature_cache import (
    CacheConfig,
    CacheError,
    FeatureCache,
    build_cache,
    cache_info,
    verify_cache,
)
from focusgym.feature_cache.building import encode
from focusgym.feature_cache.building.encode import config_of
from focusgym.recognizer import Encoder
from focusgym.recognizer.pipeline.look import repeatable_on_cuda

CLASSES = [str(i) for i in range(10)]


def test_bfloat16_is_another_cache(
    built: FeatureCache,
    videos: pd.DataFrame,
    encoders: dict[str, Encoder],
    config: CacheConfig,
    tmp_path: Path,
) -> None:
    """Features are apart by the rounding of 8 bits; the manifest names what is not float32."""
    other = replace(config, precision="bfloat16")
    cache = FeatureCache.open(build_cache(videos, CLASSES, tmp_path / "c", encoders, other))
    assert cache.fingerprint != built.fingerprint
    assert cache.manifest["depends_on"].pop("precision") == "bfloat16"
    assert cache.manifest["depends_on"] == built.manifest["depends_on"]  # which does not name it
    assert config_of(cache.manifest | {"depends_on": {**built.manifest["depends_on"]}}) == config
    assert "encoded on cpu in bfloat16" in cache_info(cache.root)[0]["dtype"]
    rows = np.arange(len(videos))
    pairs = [
        (each.glance_maps(rows), each.local_vectors(rows, 0, slice(None)))
        for each in (cache, built)
    ]
    for rounded, exact in zip(*pairs, strict=True):
        error = float((rounded - exact).norm() / exact.norm())
        assert 2**-13 < error < 2**-4, "neither float32 nor something else"
    assert verify_cache(cache.root) == []
    with pytest.raises(CacheError, match="other videos or settings .precision differ"):
        build_cache(videos, CLASSES, cache.root, encoders, config)
    with pytest.raises(CacheError, match="other videos or settings .precision differ"):
        build_cache(videos, CLASSES, built.root, encoders, other)


def test_what_a_precision_may_be(config: CacheConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="one of float32, tf32, bfloat16; got 'float64'"):
        replace(config, precision="float64")
    with pytest.raises(ValueError, match="tf32 is of CUDA devices, and the device is cpu: take"):
        replace(config, precision="tf32")
    on_gpu = replace(config, device="cuda:1", precision="tf32")
    group = config.groups[0]
    depends_on = {
        "frames": config.frames.describe(),
        "augment": None,
        "dtype": "float16",
        "device": "cuda",
        "precision": "tf32",
    }
    manifest = {"depends_on": depends_on, "groups": {group.name: group.describe()}}
    monkeypatch.setattr(encode.torch.cuda, "is_available", lambda: True)
    assert config_of(manifest) == replace(on_gpu, device="cuda")
    monkeypatch.setattr(encode.torch.cuda, "is_available", lambda: False)
    assert config_of(manifest) == config


def test_what_cuda_may_round_is_set_inside_the_block_alone() -> None:
    def allowed() -> tuple[bool, bool, bool]:
        cudnn = torch.backends.cudnn
        return torch.backends.cuda.matmul.allow_tf32, cudnn.allow_tf32, cudnn.deterministic

    before = allowed()
    with repeatable_on_cuda(tf32=True):
        assert allowed() == (True, True, True)
        with repeatable_on_cuda():
            assert allowed() == (False, False, True)
        assert allowed() == (True, True, True)
    assert allowed() == before
