"""Features and videos that change behind a build's back."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from digit_caches import digit_cache
from support import small_group

from focusgym.envs import FeatureSource, FocusEngine
from focusgym.feature_cache import (
    CacheConfig,
    CacheError,
    Clip,
    DigitsConfig,
    FeatureCache,
    VideoEncoder,
    VideoError,
    cache_samples,
)
from focusgym.feature_cache.building import build
from focusgym.recognizer import (
    ClassifierConfig,
    Encoder,
    EncoderConfig,
    FrameConfig,
    GruClassifier,
    PatchGrid,
)

CONFIG = CacheConfig(
    FrameConfig(2, 64), (small_group(PatchGrid(64, 28, 2)), small_group(PatchGrid(64, 40, 2)))
)
GROUPS = [group.name for group in CONFIG.groups]


def encoders() -> dict[str, Encoder]:
    torch.manual_seed(0)
    glance = Encoder(EncoderConfig("small_glance", input_px=12)).eval()
    return {"glance": glance, "local": Encoder(EncoderConfig("small_local")).eval()}


@pytest.fixture
def cache(tmp_path: Path) -> FeatureCache:
    digits = DigitsConfig(n_train=3, n_val=1, n_test=1, n_frames=3)
    return digit_cache(tmp_path, digits, encoders(), CONFIG)


@pytest.mark.parametrize("name", ["glance_maps", "glance_vectors", f"local_vectors_{GROUPS[1]}"])
def test_a_flipped_bit_is_found_where_it_is_read(cache: FeatureCache, name: str) -> None:
    """By an epoch of supervised training, and by the first step of an episode; by no other row."""
    row = 1
    values = np.load(cache.root / f"{name}.npy", mmap_mode="r+")
    values[row].reshape(-1).view(np.uint8)[-1] ^= 1
    values.flush()
    opened = FeatureCache.open(cache.root, GROUPS[0])
    videos = opened.split("train")
    samples = cache_samples(
        opened,
        videos,
        lambda epoch, rows: (
            torch.zeros(len(rows), 2, dtype=torch.int64),
            torch.ones(len(rows), 2, dtype=torch.bool),
        ),
    )
    batches = samples.batches(0, [torch.tensor([0, 2]), torch.tensor([1])])
    next(batches)
    message = (
        rf"row {row} \({opened.videos['name'][row]}\) has checksum \w+, expected \w+: its feat"
    )
    with pytest.raises(CacheError, match=message):
        next(batches)
    network = GruClassifier(ClassifierConfig(opened.glance_channels, opened.local_channels, 10))
    engine = FocusEngine(FeatureSource(FeatureCache.open(cache.root, GROUPS[0]), network.eval()))
    engine.oracle(np.array([0, 2]))
    with pytest.raises(CacheError, match=message):
        engine.oracle(np.array([0, 1]))


@pytest.mark.parametrize("change", ["replaced", "written to", "removed"])
def test_a_video_that_changes_while_it_is_read(change: str, cache: FeatureCache) -> None:
    """Its features would be of another video than the digest beside them."""
    clip, other = (Clip(path) for path in cache.videos["path"][:2])
    right, path = build.read_told, Path(clip.path)

    def read(*args: object) -> object:
        decoded = right(*args)  # type: ignore[arg-type]
        if change == "replaced":  # by a file of the same size
            content = bytearray(path.read_bytes())
            content[-1] ^= 1
            path.with_suffix(".new").write_bytes(content)
            path.with_suffix(".new").rename(path)
        elif change == "removed":
            path.unlink()
        else:
            os.utime(path, ns=(0, 0))
        return decoded

    encoder = VideoEncoder(encoders(), CONFIG)
    assert build.encode_row(other, None, encoder)[1].bytes == Path(other.path).stat().st_size
    why = "cannot be read .No such file" if change == "removed" else "was replaced while it was"
    with pytest.raises(VideoError, match=why):
        build.encode_row(clip, None, encoder, read)  # type: ignore[arg-type]
