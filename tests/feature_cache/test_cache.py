"""The cache against direct encoding; bundles; what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from focusgym.feature_cache import (
    BundleError,
    CacheError,
    DigitsConfig,
    FeatureCache,
    FrameConfig,
    build_cache,
    make_digits,
    read_bundle,
    read_classifier,
    read_encoder,
    read_frames,
    read_videos,
    write_bundle,
)
from focusgym.recognizer import Encoder, EncoderConfig, GruClassifier, PatchGrid, load_trunk

GRID = PatchGrid(64, 28)
FRAMES = FrameConfig(steps=3, frame_px=64)
CLASSES = [str(i) for i in range(10)]


def encoders() -> tuple[Encoder, Encoder]:
    torch.manual_seed(0)
    glance = Encoder(EncoderConfig("small_glance", input_px=12)).eval()
    return glance, Encoder(EncoderConfig("small_local")).eval()


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    root = tmp_path_factory.mktemp("digits") / "data"
    table = make_digits(DigitsConfig(n_train=3, n_val=1, n_test=1, n_frames=6), root)
    return table.assign(path=[str(root / path) for path in table["path"]])


@pytest.fixture(scope="module")
def built(videos: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> FeatureCache:
    root = tmp_path_factory.mktemp("built") / "cache"
    return build_cache(videos, CLASSES, root, *encoders(), GRID, FRAMES)


def encode_one_by_one(
    path: str, frames: FrameConfig, grid: PatchGrid, glance: Encoder, local: Encoder
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Encode one frame and one patch at a time, in fp32, with slices for crops."""
    pixels, _ = read_frames(path, frames)
    maps, vectors, patches = [], [], []
    with torch.no_grad():
        for frame in pixels:
            maps.append(glance(frame[None])[0].permute(1, 2, 0).numpy())
            vectors.append(maps[-1].mean((0, 1)))
            for left, top, right, bottom in grid.boxes_px:
                crop = frame[None, :, top:bottom, left:right].contiguous()
                patches.append(local(crop).mean((2, 3))[0].numpy())
    shape = (len(pixels), grid.n_options, -1)
    return np.stack(maps), np.stack(vectors), np.stack(patches).reshape(shape)


def assert_within_fp16(stored: torch.Tensor, exact: np.ndarray) -> None:
    np.testing.assert_allclose(stored.numpy(), exact, rtol=2e-3, atol=1e-4)


def test_the_cache_is_a_direct_encoding(built: FeatureCache, videos: pd.DataFrame) -> None:
    for row, path in enumerate(videos["path"]):
        maps, vectors, local = encode_one_by_one(path, FRAMES, GRID, *encoders())
        one = np.array([row])
        assert_within_fp16(built.glance_maps(one)[0], maps)
        assert_within_fp16(built.glance_vectors(one)[0], vectors)
        for t in range(3):
            assert_within_fp16(built.local_vectors(one, t, slice(None))[0], local[t])
        assert built.frame_indices(one)[0].tolist() == [1, 3, 5]
    assert built.labels.tolist() == videos["label"].tolist()


def test_real_clips_are_encoded_directly(real_data: Path, tmp_path: Path) -> None:
    videos, classes = read_videos(real_data / "gestures")
    videos = videos.groupby("split").head(1).reset_index(drop=True)
    weights = torch.load(real_data / "weights/mobilenet_v2_features.pth", weights_only=True)
    glance, local = (Encoder(EncoderConfig("mobilenet_v2")).eval() for _ in range(2))
    for encoder in (glance, local):
        load_trunk(encoder, weights)
    grid, frames = PatchGrid(224, 128, 3), FrameConfig(2, 224, 256)
    cache = build_cache(videos, classes, tmp_path / "cache", glance, local, grid, frames)
    maps, vectors, patches = encode_one_by_one(videos["path"][1], frames, grid, glance, local)
    row = np.array([1])
    assert_within_fp16(cache.glance_maps(row)[0], maps)
    assert_within_fp16(cache.glance_vectors(row)[0], vectors)
    assert_within_fp16(cache.local_vectors(row, 1, slice(None))[0], patches[1])


def test_gathers_are_numpy_indexing(built: FeatureCache) -> None:
    rows, options = np.array([4, 0]), np.array([[1, 48, 0], [7, 7, 30]])
    raw = np.load(built.root / "local_vectors.npy")
    glance, local, labels = built.sequences(rows, options)
    for b, row in enumerate(rows):
        for t in range(3):
            expected = raw[row, t, options[b, t]].astype(np.float32)
            assert np.array_equal(local[b, t].numpy(), expected)
            assert torch.equal(glance[b], built.glance_vectors(rows[b : b + 1])[0])
        assert labels[b] == built.labels[row]
    picked = built.local_vectors(rows, 2, options[:, 0])
    assert np.array_equal(picked.numpy(), raw[rows, 2, options[:, 0]].astype(np.float32))


def test_the_fingerprint_follows_what_features_depend_on(
    built: FeatureCache, videos: pd.DataFrame, tmp_path: Path
) -> None:
    same = build_cache(videos, CLASSES, tmp_path / "same", *encoders(), GRID, FRAMES)
    assert same.fingerprint == built.fingerprint
    for name in ("glance_maps", "glance_vectors", "local_vectors"):
        paths = [cache.root / f"{name}.npy" for cache in (same, built)]
        assert paths[0].read_bytes() == paths[1].read_bytes()
    glance, local = encoders()
    changed = [
        build_cache(videos, CLASSES, tmp_path / "a", glance, local, PatchGrid(64, 27), FRAMES),
        build_cache(videos, CLASSES, tmp_path / "b", glance, local, GRID, FrameConfig(2, 64)),
        build_cache(videos, CLASSES, tmp_path / "c", glance, local, GRID, FRAMES, "float32"),
        build_cache(videos[:4], CLASSES, tmp_path / "d", glance, local, GRID, FRAMES),
    ]
    with torch.no_grad():
        next(local.parameters()).add_(1e-3)
    changed.append(build_cache(videos, CLASSES, tmp_path / "e", glance, local, GRID, FRAMES))
    assert len({built.fingerprint, *(cache.fingerprint for cache in changed)}) == 6


def test_nothing_is_left_where_a_video_is_broken(videos: pd.DataFrame, tmp_path: Path) -> None:
    (tmp_path / "broken.mp4").write_bytes(Path(videos["path"][0]).read_bytes()[:500])
    broken = videos.assign(path=[*videos["path"][:4], str(tmp_path / "broken.mp4")])
    with pytest.raises(ValueError, match=r"broken\.mp4 cannot be decoded"):
        build_cache(broken, CLASSES, tmp_path / "cache", *encoders(), GRID, FRAMES)
    assert not (tmp_path / "cache").exists()


def test_building_refuses_what_cannot_work(
    built: FeatureCache, videos: pd.DataFrame, tmp_path: Path
) -> None:
    glance, local = encoders()
    with pytest.raises(FileExistsError, match="exists: remove it, or build the cache elsewhere"):
        build_cache(videos, CLASSES, built.root, glance, local, GRID, FRAMES)
    root = tmp_path / "cache"
    with pytest.raises(ValueError, match="frames of 96 px, the frames have 64 px"):
        build_cache(videos, CLASSES, root, glance, local, PatchGrid(96, 28), FRAMES)
    with pytest.raises(ValueError, match="dtype must be float16 or float32; got 'int8'"):
        build_cache(videos, CLASSES, root, glance, local, GRID, FRAMES, "int8")
    with torch.no_grad():
        next(local.parameters()).fill_(float("nan"))
    with pytest.raises(ValueError, match="features are not finite in float16: check the encoders"):
        build_cache(videos, CLASSES, root, glance, local, GRID, FRAMES)
    assert not root.exists()


def test_opening_refuses_what_is_no_cache(built: FeatureCache, cache: FeatureCache) -> None:
    with pytest.raises(CacheError, match="is not a complete feature cache"):
        FeatureCache.open(built.root / "nowhere")
    with pytest.raises(CacheError, match="split 'dev' has no videos in .*; there are: test, train"):
        cache.split("dev")
    manifest = json.loads((cache.root / "manifest.json").read_text())
    manifest["depends_on"]["grid"]["patch_px"] = 13
    (cache.root / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CacheError, match="the manifest was edited; rebuild the cache"):
        FeatureCache.open(cache.root)


def test_bundles_round_trip(tmp_path: Path, classifier: GruClassifier) -> None:
    write_bundle(tmp_path / "c", "classifier", classifier.config, classifier, "f" * 64, {"x": 1.5})
    again = read_classifier(tmp_path / "c", "f" * 64)
    assert again.config == classifier.config
    glance, local = torch.randn(2, 3, 5), torch.randn(2, 3, 6)
    assert torch.equal(again(glance, local), classifier(glance, local))
    assert read_bundle(tmp_path / "c", "classifier").metrics == {"x": 1.5}
    encoder, _ = encoders()
    write_bundle(tmp_path / "e", "encoder", encoder.config, encoder)
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    assert torch.equal(read_encoder(tmp_path / "e")(images), encoder(images))


def test_bundles_that_do_not_fit_are_refused(tmp_path: Path, classifier: GruClassifier) -> None:
    path = tmp_path / "c"
    with pytest.raises(BundleError, match="is not a readable bundle"):
        read_bundle(path, "classifier")
    write_bundle(path, "classifier", classifier.config, classifier, "a" * 64)
    with pytest.raises(BundleError, match="holds a classifier, expected a policy"):
        read_bundle(path, "policy")
    with pytest.raises(BundleError, match=f"trained on cache {'a' * 64}, .* cache {'b' * 64}"):
        read_classifier(path, "b" * 64)
    weights = path / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    with pytest.raises(BundleError, match="is not a readable bundle"):
        read_classifier(path)


def test_damaged_bundles_are_refused(tmp_path: Path, classifier: GruClassifier) -> None:
    path = tmp_path / "c"
    write_bundle(path, "classifier", classifier.config, classifier)
    good = json.loads((path / "bundle.json").read_text())
    for content in ("{}", "[]", "null", "{", '{"kind": 1}'):
        (path / "bundle.json").write_text(content)
        with pytest.raises(BundleError, match="is not a readable bundle"):
            read_classifier(path)
    for config in ({"x": 1}, {**good["config"], "hidden": 9}, {**good["config"], "y": 0}):
        (path / "bundle.json").write_text(json.dumps({**good, "config": config}))
        with pytest.raises(BundleError, match="config and weights do not make a classifier"):
            read_classifier(path)


def test_damaged_caches_are_refused(cache: FeatureCache) -> None:
    good = (cache.root / "manifest.json").read_text()
    for content in ("{}", "[]", "{"):
        (cache.root / "manifest.json").write_text(content)
        with pytest.raises(CacheError, match="is not a complete feature cache"):
            FeatureCache.open(cache.root)
    (cache.root / "manifest.json").write_text(good)
    array = cache.root / "local_vectors.npy"
    array.write_bytes(array.read_bytes()[:200])
    with pytest.raises(CacheError, match="is not a complete feature cache"):
        FeatureCache.open(cache.root)
    array.unlink()
    with pytest.raises(CacheError, match="is not a complete feature cache"):
        FeatureCache.open(cache.root)
