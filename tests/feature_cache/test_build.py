"""A build against direct encoding, and what it refuses."""

from __future__ import annotations

import errno
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from filelock import FileLock
from PIL import Image
from safetensors import SafetensorError

from focusgym.feature_cache import (
    AugmentConfig,
    CacheConfig,
    CacheError,
    Clip,
    FeatureCache,
    FrameConfig,
    ShardError,
    build,
    build_cache,
    clips_of,
    make_encoder,
    read_frames,
    read_videos,
    read_view,
    video_table,
    writer,
)
from focusgym.recognizer import Encoder, EncoderConfig, PatchGrid

CLASSES = [str(i) for i in range(10)]
Encoders = tuple[Encoder, Encoder]


def encode_one_by_one(
    frames: torch.Tensor, grid: PatchGrid, glance: Encoder, local: Encoder
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Encode one frame and one patch at a time, in fp32, with slices for crops."""
    maps, vectors, patches = [], [], []
    with torch.no_grad():
        for frame in frames:
            maps.append(glance(frame[None])[0].permute(1, 2, 0).numpy())
            vectors.append(maps[-1].mean((0, 1)))
            for left, top, right, bottom in grid.boxes_px:
                crop = frame[None, :, top:bottom, left:right].contiguous()
                patches.append(local(crop).mean((2, 3))[0].numpy())
    shape = (len(frames), grid.n_options, -1)
    return np.stack(maps), np.stack(vectors), np.stack(patches).reshape(shape)


def assert_within_fp16(stored: torch.Tensor, exact: np.ndarray) -> None:
    np.testing.assert_allclose(stored.numpy(), exact, rtol=2e-3, atol=1e-4)


def assert_rows_are_encodings(
    cache: FeatureCache, rows: list[int], encoders: Encoders, pixels: list[torch.Tensor]
) -> None:
    for row, frames in zip(rows, pixels, strict=True):
        maps, vectors, local = encode_one_by_one(frames, cache.grid, *encoders)
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
    root = build_cache(
        videos, CLASSES, tmp_path / "c", *encoders, replace(config, grids=grids, dtype="float32")
    )
    frames = read_frames(clips_of(videos)[2], config.frames)[0]
    fingerprints = set()
    for grid in grids:
        cache = FeatureCache.open(root, grid.name)
        assert cache.grid == grid
        assert cache.n_options == grid.n_options
        local = encode_one_by_one(frames, grid, *encoders)[2]
        stored = cache.local_vectors(np.array([2]), 1, slice(None))[0].numpy()
        np.testing.assert_allclose(stored, local[1], rtol=1e-4, atol=1e-6)
        fingerprints.add(cache.fingerprint)
    assert len(fingerprints) == 3
    # A group's fingerprint does not depend on which other groups were built with it.
    config = replace(config, dtype="float32")
    alone = FeatureCache.open(build_cache(videos, CLASSES, tmp_path / "a", *encoders, config))
    together = FeatureCache.open(root, "p28_7x7")
    assert alone.fingerprint == together.fingerprint != built.fingerprint


def test_views_are_encodings_of_what_is_stored(
    videos: pd.DataFrame, encoders: Encoders, config: CacheConfig, tmp_path: Path
) -> None:
    frames = FrameConfig(3, 48, 64)
    augmented = CacheConfig(frames, (PatchGrid(48, 20, 2),), AugmentConfig(3, seed=5))
    root = build_cache(videos, CLASSES, tmp_path / "c", *encoders, augmented)
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
    fewer = build_cache(videos[2:].reset_index(), CLASSES, tmp_path / "f", *encoders, augmented)
    stored = np.load(fewer / "local_vectors_p20_2x2.npy")[:3]
    assert np.array_equal(stored, np.load(root / "local_vectors_p20_2x2.npy")[6:9])


def test_real_clips_are_encoded_directly(real_data: Path, tmp_path: Path) -> None:
    listed = read_videos(real_data / "gestures")
    videos = listed.videos.groupby("split").head(1).reset_index(drop=True)
    weights = str(real_data / "weights" / "mobilenet_v2_features.pth")
    glance, local = (make_encoder(EncoderConfig("mobilenet_v2"), weights) for _ in range(2))
    config = CacheConfig(FrameConfig(2, 224, 256), (PatchGrid(224, 128, 3),))
    cache = FeatureCache.open(
        build_cache(videos, listed.classes, tmp_path / "cache", glance, local, config)
    )
    frames, _ = read_frames(clips_of(videos)[1], config.frames)
    maps, vectors, patches = encode_one_by_one(frames, cache.grid, glance.eval(), local.eval())
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
            build_cache(rows, CLASSES, tmp_path / name, *encoders, config)
        ).fingerprint

    assert fingerprint("same", videos, config) == built.fingerprint
    longer = tmp_path / "longer.mp4"
    longer.write_bytes(Path(videos["path"][0]).read_bytes() + b"\0\0\0\x08free")
    found = {
        built.fingerprint,
        fingerprint("grid", videos, replace(config, grids=(PatchGrid(64, 27),))),
        fingerprint("steps", videos, replace(config, frames=FrameConfig(2, 64))),
        fingerprint("dtype", videos, replace(config, dtype="float32")),
        fingerprint("views", videos, replace(config, augment=AugmentConfig(1))),
        fingerprint("fewer", videos[:4], config),
        fingerprint("labels", videos.assign(labels=["0", "1", "2", "3", "4"]), config),
        fingerprint("file", videos.assign(path=[str(longer), *videos["path"][1:]]), config),
    }
    with torch.no_grad():
        next(encoders[1].parameters()).add_(1e-3)
    found.add(fingerprint("weights", videos, config))
    assert len(found) == 9


def broken(videos: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Damage three of the five files in three ways, and take one away."""
    folder.mkdir(exist_ok=True)
    whole = Path(videos["path"][0]).read_bytes()
    (folder / "1.mp4").write_bytes(whole[:500])
    (folder / "2.mp4").touch()
    (folder / "3.mp4").write_text("this is text")
    names = [str(folder / f"{i}.mp4") for i in range(1, 5)]
    return videos.assign(path=[videos["path"][0], *names])


def test_broken_videos_are_named_and_nothing_else_is_lost(
    built: FeatureCache,
    videos: pd.DataFrame,
    encoders: Encoders,
    config: CacheConfig,
    tmp_path: Path,
) -> None:
    damaged, root = broken(videos, tmp_path / "v"), tmp_path / "c"
    with pytest.raises(CacheError, match="4 video.s. cannot be read; the other 1 of 5 rows") as e:
        build_cache(damaged, CLASSES, root, *encoders, config)
    for number in (1, 2, 3):
        assert f"{number}.mp4 cannot be decoded" in str(e.value)
    assert "4.mp4: no such video" in str(e.value)
    assert "or add --skip-missing to go on without them" in str(e.value)
    assert not root.exists()
    # The files are mended: the same call encodes only those, and ends like any other build.
    for number in range(1, 5):
        (tmp_path / "v" / f"{number}.mp4").write_bytes(Path(videos["path"][number]).read_bytes())
    cache = FeatureCache.open(build_cache(damaged, CLASSES, root, *encoders, config))
    assert cache.fingerprint == built.fingerprint
    for array in root.glob("*.npy"):
        assert array.read_bytes() == (built.root / array.name).read_bytes()


def test_skipped_videos_keep_their_place(
    built: FeatureCache,
    videos: pd.DataFrame,
    encoders: Encoders,
    config: CacheConfig,
    tmp_path: Path,
) -> None:
    damaged = broken(videos, tmp_path / "v")[[True, True, False, False, True]]
    damaged = damaged.reset_index(drop=True).assign(missing=["", "", "no such file: x.mp4"])
    root = build_cache(damaged, CLASSES, tmp_path / "c", *encoders, config, skip_missing=True)
    cache = FeatureCache.open(root)
    assert cache.videos["split"].tolist() == ["train", "skipped", "skipped"]
    assert cache.split("train").tolist() == [0]
    reasons = cache.manifest["skipped"]
    assert [(each["row"], each["name"]) for each in reasons] == [
        (1, damaged["name"][1]),
        (2, damaged["name"][2]),
    ]
    assert "1.mp4 cannot be decoded" in reasons[0]["reason"]
    assert reasons[1]["reason"] == "no such file: x.mp4"
    assert not cache.glance_maps(np.array([1, 2])).any()
    first = np.array([0])
    assert torch.equal(cache.glance_maps(first), built.glance_maps(first))
    missing = damaged.assign(missing=["no a", "no b", "no c"])
    with pytest.raises(CacheError, match="3 video.s. cannot be read; the other 0 of 3"):
        build_cache(missing, CLASSES, tmp_path / "d", *encoders, config, skip_missing=True)


def test_a_complete_cache_is_left_as_it_is(
    built: FeatureCache,
    videos: pd.DataFrame,
    encoders: Encoders,
    config: CacheConfig,
) -> None:
    before = {path: path.stat().st_mtime_ns for path in built.root.rglob("*")}
    build_cache(videos, CLASSES, built.root, *encoders, config)
    assert {path: path.stat().st_mtime_ns for path in built.root.rglob("*")} == before
    other = replace(config, dtype="float32")
    with pytest.raises(CacheError, match="exists, and is no cache of these videos and settings"):
        build_cache(videos, CLASSES, built.root, *encoders, other)


def test_building_refuses_what_cannot_work(
    videos: pd.DataFrame,
    encoders: Encoders,
    config: CacheConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = tmp_path / "cache"
    with pytest.raises(
        ValueError, match="frames of 96 px, the frames have 64 px: give both the same side"
    ):
        replace(config, grids=(PatchGrid(96, 28),))
    with pytest.raises(ValueError, match="dtype must be float16 or float32; got 'int8'"):
        replace(config, dtype="int8")
    with pytest.raises(ValueError, match="device must be cpu or cuda; got 'tpu'"):
        replace(config, device="tpu")
    with pytest.raises(ValueError, match="different, and at least one; got none"):
        replace(config, grids=())
    with pytest.raises(ValueError, match="at least one; got p28_7x7, p28_7x7"):
        replace(config, grids=(PatchGrid(64, 28),) * 2)
    for shard, message in (
        ((0, 2), "1 <= i <= n; got 0/2"),
        ((1, 6), "6 shards of 5 rows: give at most one shard per row"),
    ):
        with pytest.raises(ShardError, match=message):
            build_cache(videos, CLASSES, root, *encoders, config, shard=shard)
    lock = FileLock(f"{root}.lock")
    with lock, pytest.raises(CacheError, match="is being written by another process: wait for it"):
        build_cache(videos, CLASSES, root, *encoders, config)
    assert not root.exists()
    with monkeypatch.context() as patch:
        patch.setattr(writer, "free_bytes", lambda root: 1000)
        with pytest.raises(
            CacheError, match=r"needs 0\.000\d+ GB, .* 1e-06 GB free: free some, build on"
        ):
            build_cache(videos, CLASSES, root, *encoders, config)
    assert not (tmp_path / "cache.partial").exists()
    with torch.no_grad():
        next(encoders[1].parameters()).fill_(float("nan"))
    with pytest.raises(CacheError, match="features are not finite in float16: check the encoders"):
        build_cache(videos, CLASSES, root, *encoders, config)
    assert not root.exists()
    assert not (tmp_path / "cache.lock").exists()


def test_a_full_disk_keeps_what_is_there(
    built: FeatureCache,
    videos: pd.DataFrame,
    encoders: Encoders,
    config: CacheConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root, real, calls = tmp_path / "c", os.pwrite, []

    def full(descriptor: int, data: memoryview, offset: int) -> int:
        calls.append(offset)
        if len(calls) == 15:  # within the third row of six arrays: half of it is written
            return real(descriptor, data[: len(data) // 2], offset)
        if len(calls) > 15:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(
        CacheError, match=r"the disk of .*c\.partial is full: .* of 5 rows are kept"
    ):
        build_cache(videos, CLASSES, root, *encoders, config)
    monkeypatch.undo()
    journal = (tmp_path / "c.partial" / "journal.jsonl").read_text().splitlines()
    assert [json.loads(line)["row"] for line in journal[1:]] == [0, 1]
    build_cache(videos, CLASSES, root, *encoders, config)
    for path in built.root.rglob("*.*"):
        assert (root / path.relative_to(built.root)).read_bytes() == path.read_bytes()


def test_other_settings_are_refused_until_restart(
    videos: pd.DataFrame, encoders: Encoders, config: CacheConfig, tmp_path: Path
) -> None:
    damaged, root = broken(videos, tmp_path / "v"), tmp_path / "c"
    with pytest.raises(CacheError, match="cannot be read"):
        build_cache(damaged, CLASSES, root, *encoders, config)
    other = replace(config, dtype="float32")
    message = (
        r"was begun with other settings \(dtype\): go on .* \(1 of 5 rows are there\), or remove"
    )
    with pytest.raises(CacheError, match=message):
        build_cache(videos, CLASSES, root, *encoders, other)
    assert (
        FeatureCache.open(build_cache(videos, CLASSES, root, *encoders, other, restart=True)).dtype
        == torch.float32
    )


def test_a_replaced_file_is_encoded_again(
    videos: pd.DataFrame, encoders: Encoders, config: CacheConfig, tmp_path: Path
) -> None:
    damaged, root = broken(videos, tmp_path / "v"), tmp_path / "c"
    copy = tmp_path / "v" / "0.mp4"
    copy.write_bytes(Path(videos["path"][0]).read_bytes())
    damaged = damaged.assign(path=[str(copy), *damaged["path"][1:]])
    with pytest.raises(CacheError, match="cannot be read"):
        build_cache(damaged, CLASSES, root, *encoders, config)
    copy.write_bytes(Path(videos["path"][4]).read_bytes())
    cache = FeatureCache.open(
        build_cache(damaged, CLASSES, root, *encoders, config, skip_missing=True)
    )
    pixels, _ = read_frames(Clip(videos["path"][4]), config.frames)
    assert_rows_are_encodings(cache, [0], encoders, [pixels])
    # A file that was encoded and is gone by the end is skipped like any other.
    with pytest.raises(CacheError, match="cannot be read"):
        build_cache(damaged, CLASSES, tmp_path / "d", *encoders, config)
    kept = damaged.assign(path=[str(copy), videos["path"][1], *damaged["path"][2:]])
    copy.unlink()
    cache = FeatureCache.open(
        build_cache(kept, CLASSES, tmp_path / "d", *encoders, config, skip_missing=True)
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
            build_cache(table, CLASSES, tmp_path / name, *encoders, config)
        ).fingerprint

    first = build("1")
    assert build("2") == first
    extract(200)
    assert build("3") != first


def test_what_was_not_noted_of_a_skipped_video_is_wiped(
    videos: pd.DataFrame, encoders: Encoders, config: CacheConfig, tmp_path: Path
) -> None:
    damaged, root = broken(videos, tmp_path / "v"), tmp_path / "c"
    with pytest.raises(CacheError, match="cannot be read"):
        build_cache(damaged, CLASSES, root, *encoders, config)
    # As if killed after rows were written and before they were noted.
    array = np.load(tmp_path / "c.partial" / "glance_maps.npy", mmap_mode="r+")
    array[1:] = 1.0
    array.flush()
    build_cache(damaged, CLASSES, root, *encoders, config, skip_missing=True)
    clean = build_cache(damaged, CLASSES, tmp_path / "clean", *encoders, config, skip_missing=True)
    assert (root / "glance_maps.npy").read_bytes() == (clean / "glance_maps.npy").read_bytes()


def test_a_folder_that_is_away_for_a_while_costs_no_rows(
    videos: pd.DataFrame,
    encoders: Encoders,
    config: CacheConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    damaged, root = broken(videos, tmp_path / "v"), tmp_path / "c"
    for number in (1, 2):
        shutil.copy(videos["path"][number], tmp_path / "v" / f"{number}.mp4")
    with pytest.raises(CacheError, match="2 video.s. cannot be read; the other 3 of 5"):
        build_cache(damaged, CLASSES, root, *encoders, config)
    (tmp_path / "v").rename(tmp_path / "away")
    with pytest.raises(CacheError, match="4 video.s. cannot be read"):
        build_cache(damaged, CLASSES, root, *encoders, config)
    (tmp_path / "away").rename(tmp_path / "v")
    encoded: list[str] = []
    real = build.encode_row
    monkeypatch.setattr(
        build, "encode_row", lambda clip, *args: (encoded.append(clip.path), real(clip, *args))[1]
    )
    build_cache(damaged, CLASSES, root, *encoders, config, skip_missing=True)
    assert sorted(encoded) == damaged["path"].tolist()[3:], "the three rows were kept"


def test_places_that_cannot_be_written(
    videos: pd.DataFrame, encoders: Encoders, config: CacheConfig, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CacheError, match="nothing can be written in .*file .*: give another"):
        build_cache(videos, CLASSES, tmp_path / "file" / "c", *encoders, config)
    with pytest.raises(CacheError, match="cannot be read"):
        build_cache(broken(videos, tmp_path / "v"), CLASSES, tmp_path / "c", *encoders, config)
    (tmp_path / "c.partial" / "glance_maps.npy").write_bytes(b"short")
    with pytest.raises(CacheError, match=r"glance_maps\.npy is damaged .*: remove .*partial and"):
        build_cache(broken(videos, tmp_path / "v"), CLASSES, tmp_path / "c", *encoders, config)


def test_a_cache_that_another_process_finished(
    built: FeatureCache,
    videos: pd.DataFrame,
    encoders: Encoders,
    config: CacheConfig,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(build, "is_complete", lambda root, identity: False)
    with pytest.raises(CacheError, match="was finished by another process meanwhile: run the same"):
        build_cache(videos, CLASSES, built.root, *encoders, config)
    assert not built.root.with_name("built.lock").exists()


@pytest.mark.parametrize("where", ["encoder", "manifest"])
def test_a_disk_that_is_full_at_the_end(
    where: str,
    built: FeatureCache,
    videos: pd.DataFrame,
    encoders: Encoders,
    config: CacheConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*args: object, **options: object) -> None:
        if where == "encoder":
            raise SafetensorError("Error: I/O error: No space left on device (os error 28)")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(build, "write_tables", full)
    with pytest.raises(CacheError, match=r"is full: 5 of 5 rows are kept; free some space and run"):
        build_cache(videos, CLASSES, tmp_path / "c", *encoders, config)
    monkeypatch.undo()
    root = build_cache(videos, CLASSES, tmp_path / "c", *encoders, config)
    for path in built.root.rglob("*.*"):
        assert (root / path.relative_to(built.root)).read_bytes() == path.read_bytes()


def test_at_most_fifty_failures_are_shown(
    videos: pd.DataFrame, encoders: Encoders, config: CacheConfig, tmp_path: Path
) -> None:
    gone = [str(tmp_path / f"{number}.mp4") for number in range(52)]
    table = video_table(gone, [0] * 52, ["train"] * 52)
    with pytest.raises(
        CacheError, match=r"(?s)52 video.s. cannot be read.*  and 2 more\nmend the files"
    ):
        build_cache(table, CLASSES, tmp_path / "c", *encoders, config)
