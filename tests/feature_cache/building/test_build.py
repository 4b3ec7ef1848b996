"""A build against direct encoding, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from support import broken, small_group

from focusgym.feature_cache import (
    AugmentConfig,
    CacheConfig,
    CacheError,
    Clip,
    FeatureCache,
    build_cache,
    clips_of,
    make_encoder,
    read_frames,
    read_videos,
    read_view,
    video_table,
)
from focusgym.recognizer import Encoder, EncoderConfig, FrameConfig, PatchGrid, Places, option_group

CLASSES = [str(i) for i in range(10)]
Encoders = dict[str, Encoder]


def encode_one_by_one(
    frames: torch.Tensor, places: Places, glance: Encoder, local: Encoder
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Encode one frame and one patch at a time, in fp32, with slices for crops."""
    maps, vectors, patches = [], [], []
    with torch.no_grad():
        for frame in frames:
            maps.append(glance(frame[None])[0].permute(1, 2, 0).numpy())
            vectors.append(maps[-1].mean((0, 1)))
            for left, top, right, bottom in places.boxes_px:
                crop = frame[None, :, top:bottom, left:right].contiguous()
                patches.append(local(crop).mean((2, 3))[0].numpy())
    shape = (len(frames), places.n_options, -1)
    return np.stack(maps), np.stack(vectors), np.stack(patches).reshape(shape)


def assert_within_fp16(stored: torch.Tensor, exact: np.ndarray) -> None:
    np.testing.assert_allclose(stored.numpy(), exact, rtol=2e-3, atol=1e-4)


def assert_rows_are_encodings(
    cache: FeatureCache, rows: list[int], encoders: Encoders, pixels: list[torch.Tensor]
) -> None:
    for row, frames in zip(rows, pixels, strict=True):
        maps, vectors, local = encode_one_by_one(frames, cache.places, *encoders.values())
        one = np.array([row])
        assert_within_fp16(cache.glance_maps(one)[0], maps)
        assert_within_fp16(cache.glance_vectors(one)[0], vectors)
        for t in range(cache.steps):
            assert_within_fp16(cache.local_vectors(one, t, slice(None))[0], local[t])


def test_the_cache_is_a_direct_encoding(
    built: FeatureCache, videos: pd.DataFrame, encoders: Encoders
) -> None:
    pixels = [read_frames(clip, built.frames)[0] for clip in clips_of(videos)]
    assert_rows_are_encodings(built, list(range(5)), encoders, pixels)
    assert built.frame_indices(np.arange(5)).tolist() == [[1, 3, 5]] * 5
    assert built.labels.tolist() == videos["label"].tolist()
    sizes = [Path(path).stat().st_size for path in videos["path"]]
    assert built.videos["bytes"].tolist() == sizes


def test_several_grids_in_one_pass(
    built: FeatureCache,
    videos: pd.DataFrame,
    encoders: Encoders,
    config: CacheConfig,
    tmp_path: Path,
) -> None:
    grids = (PatchGrid(64, 28), PatchGrid(64, 40, 3), PatchGrid(64, 28, 2))
    config = replace(config, groups=tuple(map(small_group, grids)), dtype="float32")
    root = build_cache(videos, CLASSES, tmp_path / "c", encoders, config)
    frames = read_frames(clips_of(videos)[2], config.frames)[0]
    fingerprints = set()
    for grid in grids:
        cache = FeatureCache.open(root, grid.name)
        assert cache.places == grid
        assert cache.n_options == grid.n_options
        local = encode_one_by_one(frames, grid, *encoders.values())[2]
        stored = cache.local_vectors(np.array([2]), 1, slice(None))[0].numpy()
        np.testing.assert_allclose(stored, local[1], rtol=1e-4, atol=1e-6)
        fingerprints.add(cache.fingerprint)
    assert len(fingerprints) == 3
    # A group's fingerprint does not depend on which other groups were built with it.
    config = replace(config, groups=config.groups[:1])
    alone = FeatureCache.open(build_cache(videos, CLASSES, tmp_path / "a", encoders, config))
    together = FeatureCache.open(root, "p28_7x7")
    assert alone.fingerprint == together.fingerprint != built.fingerprint


def test_views_are_encodings_of_what_is_stored(
    videos: pd.DataFrame, encoders: Encoders, config: CacheConfig, tmp_path: Path
) -> None:
    frames = FrameConfig(3, 48, 64)
    augmented = CacheConfig(frames, (small_group(PatchGrid(48, 20, 2)),), AugmentConfig(3, seed=5))
    root = build_cache(videos, CLASSES, tmp_path / "c", encoders, augmented)
    cache = FeatureCache.open(root)
    assert cache.videos["view"].tolist() == [0, 1, 2] * 3 + [-1, -1]
    assert cache.videos["split"].tolist() == ["train"] * 9 + ["val", "test"]
    assert cache.videos["path"].nunique() == 5
    clips = clips_of(cache.videos)
    views = [cache.view(row) for row in range(11)]
    pixels = [read_view(clip, frames, view) for clip, view in zip(clips, views, strict=True)]
    assert_rows_are_encodings(cache, list(range(11)), encoders, pixels)
    assert len({(v.crop_px, v.flipped, tuple(v.frame_indices)) for v in views[:9]}) > 6
    assert all(view.crop_px == (8, 8, 56, 56) for view in views[9:])
    # The draws of a video do not depend on what else is in the list.
    fewer = build_cache(videos[2:].reset_index(), CLASSES, tmp_path / "f", encoders, augmented)
    stored = np.load(fewer / "local_vectors_p20_2x2.npy")[:3]
    assert np.array_equal(stored, np.load(root / "local_vectors_p20_2x2.npy")[6:9])


def test_real_clips_are_encoded_directly(real_data: Path, tmp_path: Path) -> None:
    listed = read_videos(real_data / "gestures")
    videos = listed.videos.groupby("split").head(1).reset_index(drop=True)
    weights = str(real_data / "weights" / "mobilenet_v2_features.pth")
    encoder = make_encoder(EncoderConfig("mobilenet_v2"), weights)
    group = option_group(PatchGrid(224, 128, 3), "glance", encoder)  # read by f_G as well
    config = CacheConfig(FrameConfig(2, 224, 256), (group,))
    root = build_cache(videos, listed.classes, tmp_path / "cache", {"glance": encoder}, config)
    cache = FeatureCache.open(root)
    frames, _ = read_frames(clips_of(videos)[1], config.frames)
    maps, vectors, patches = encode_one_by_one(frames, cache.places, encoder, encoder)
    row = np.array([1])
    assert_within_fp16(cache.glance_maps(row)[0], maps)
    assert_within_fp16(cache.glance_vectors(row)[0], vectors)
    for t in range(2):
        assert_within_fp16(cache.local_vectors(row, t, slice(None))[0], patches[t])


def test_the_fingerprint_follows_what_features_depend_on(
    built: FeatureCache,
    videos: pd.DataFrame,
    encoders: Encoders,
    config: CacheConfig,
    tmp_path: Path,
) -> None:
    def fingerprint(name: str, rows: pd.DataFrame, config: CacheConfig) -> str:
        return FeatureCache.open(
            build_cache(rows, CLASSES, tmp_path / name, encoders, config)
        ).fingerprint

    assert fingerprint("same", videos, config) == built.fingerprint
    longer, others = tmp_path / "longer.mp4", videos["label"].iloc[::-1].to_numpy()
    longer.write_bytes(Path(videos["path"][0]).read_bytes() + b"\0\0\0\x08free")
    fingerprints = {
        built.fingerprint,
        fingerprint("grid", videos, replace(config, groups=(small_group(PatchGrid(64, 27)),))),
        fingerprint("steps", videos, replace(config, frames=FrameConfig(2, 64))),
        fingerprint("dtype", videos, replace(config, dtype="float32")),
        fingerprint("views", videos, replace(config, augment=AugmentConfig(1))),
        fingerprint("fewer", videos[:4], config),
        fingerprint("labels", videos.assign(label=others, labels=others.astype(str)), config),
        fingerprint("file", videos.assign(path=[str(longer), *videos["path"][1:]]), config),
    }
    with torch.no_grad():
        next(encoders["local"].parameters()).add_(1e-3)
    fingerprints.add(fingerprint("weights", videos, config))
    assert len(fingerprints) == 9


def test_a_replaced_file_is_encoded_again(
    videos: pd.DataFrame, encoders: Encoders, config: CacheConfig, tmp_path: Path
) -> None:
    damaged, root = broken(videos, tmp_path / "v"), tmp_path / "c"
    copy = tmp_path / "v" / "0.mp4"
    copy.write_bytes(Path(videos["path"][0]).read_bytes())
    damaged = damaged.assign(path=[str(copy), *damaged["path"][1:]])
    with pytest.raises(CacheError, match="cannot be read"):
        build_cache(damaged, CLASSES, root, encoders, config)
    copy.write_bytes(Path(videos["path"][4]).read_bytes())
    cache = FeatureCache.open(
        build_cache(damaged, CLASSES, root, encoders, config, skip_missing=True)
    )
    pixels, _ = read_frames(Clip(videos["path"][4]), config.frames)
    assert_rows_are_encodings(cache, [0], encoders, [pixels])
    # A file that was encoded and is gone by the end is skipped like any other.
    with pytest.raises(CacheError, match="cannot be read"):
        build_cache(damaged, CLASSES, tmp_path / "d", encoders, config)
    kept = damaged.assign(path=[str(copy), videos["path"][1], *damaged["path"][2:]])
    copy.unlink()
    cache = FeatureCache.open(
        build_cache(kept, CLASSES, tmp_path / "d", encoders, config, skip_missing=True)
    )
    assert cache.videos["split"].tolist()[:2] == ["skipped", "train"]
    assert not cache.glance_maps(np.array([0])).any()


def test_images_are_known_by_their_content(
    encoders: Encoders, config: CacheConfig, tmp_path: Path
) -> None:
    folders = [tmp_path / name for name in ("a", "b")]

    def extract(shade: int) -> None:
        for number, folder in enumerate(folders):
            folder.mkdir(exist_ok=True)
            for i in range(1, 5):
                colour = (shade, 40 * i, 100 * number)
                Image.new("RGB", (64, 64), colour).save(folder / f"{i:05d}.jpg")

    extract(10)
    images = {"images": "%05d.jpg", "n_images": 4}
    table = video_table([str(folder) for folder in folders], [0, 1], ["train", "test"])
    table = table.assign(**images)

    def build(name: str) -> str:
        return FeatureCache.open(
            build_cache(table, CLASSES, tmp_path / name, encoders, config)
        ).fingerprint

    first = build("1")
    assert build("2") == first
    extract(200)
    assert build("3") != first
