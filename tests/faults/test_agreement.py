"""How far results may differ where threads or storage differ: bounds that the pages state."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from digit_caches import digit_cache
from support import small_group, write_classifier

from focusgym.envs import FeatureSource, FocusEngine
from focusgym.feature_cache import CacheConfig, DigitsConfig, FeatureCache
from focusgym.recognizer import Encoder, EncoderConfig, FrameConfig, PatchGrid, read_classifier
from focusgym.recognizer.threads import torch_threads

T, GRID = 3, PatchGrid(48, 24, 3)
DIGITS = DigitsConfig(n_train=2, n_val=1, n_test=3, frame_px=48, n_frames=6)
ARRAYS = ("glance_maps", "glance_vectors", "local_vectors_p24_3x3")


def built(root: Path, threads: int, dtype: str) -> FeatureCache:
    root.mkdir()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoders = {name: Encoder(EncoderConfig(f"small_{name}")) for name in ("glance", "local")}
    config = CacheConfig(FrameConfig(steps=T, frame_px=48), (small_group(GRID),), dtype=dtype)
    with torch_threads(threads):
        return digit_cache(root, DIGITS, encoders, config)


@pytest.fixture(scope="module")
def caches(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[int, str], FeatureCache]:
    root = tmp_path_factory.mktemp("agreement")
    kinds = [(1, "float32"), (2, "float32"), (1, "float16")]
    return {(n, dtype): built(root / f"{n}{dtype}", n, dtype) for n, dtype in kinds}


def stored(cache: FeatureCache, name: str) -> np.ndarray:
    return np.load(cache.root / f"{name}.npy").astype(np.float64)


def predictions(cache: FeatureCache, f_c: Path, threads: int) -> torch.Tensor:
    """Return the probabilities of all classes after each segment of the videos of test."""
    with torch_threads(threads):
        engine = FocusEngine(FeatureSource(cache, read_classifier(f_c)))
        videos = cache.split("test")
        options = np.arange(len(videos) * T).reshape(len(videos), T) % cache.n_options
        return engine.rollout(videos, options).softmax(dim=-1)


def test_numbers_of_threads_agree(
    caches: dict[tuple[int, str], FeatureCache], tmp_path: Path
) -> None:
    one, two = caches[1, "float32"], caches[2, "float32"]
    for name in ARRAYS:
        a, b = stored(one, name), stored(two, name)
        assert np.abs(a - b).max() <= 1e-5 * np.abs(a).max()
    f_c = write_classifier(one, tmp_path / "f_c")
    alone, both = predictions(one, f_c, 1), predictions(one, f_c, 2)
    torch.testing.assert_close(both, alone, rtol=0, atol=1e-5)


@torch.no_grad()
def test_numbers_of_threads_agree_in_a_network_of_usual_size() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = Encoder(EncoderConfig("resnet18")).eval().fused()
        frames = torch.randint(256, (2, 3, 112, 112), dtype=torch.uint8)
    maps = []
    for threads in (1, 2):
        with torch_threads(threads):
            maps.append(encoder(frames))
    assert not maps[0].allclose(torch.zeros(()))
    torch.testing.assert_close(maps[1], maps[0], rtol=0, atol=1e-5 * float(maps[0].abs().max()))


def test_storage_in_half_precision_rounds_and_no_more(
    caches: dict[tuple[int, str], FeatureCache], tmp_path: Path
) -> None:
    full, half = caches[1, "float32"], caches[1, "float16"]
    for name in ARRAYS:
        exact, rounded = stored(full, name), stored(half, name)
        # Half a unit in the last place: 11 bits, and steps of 2**-24 near zero.
        assert (np.abs(rounded - exact) <= 2.0**-11 * np.abs(exact) + 2.0**-25).all()
    f_c = {c: write_classifier(c, tmp_path / c.root.parent.name) for c in (full, half)}
    exact, rounded = (predictions(cache, f_c[cache], 1) for cache in (full, half))
    torch.testing.assert_close(rounded, exact, rtol=0, atol=1e-3)
