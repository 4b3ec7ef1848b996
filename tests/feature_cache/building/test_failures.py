"""What stands in the way of a build: nothing of what was done is lost."""

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
from safetensors import SafetensorError
from support import broken, small_group

from focusgym.feature_cache import (
    CacheConfig,
    CacheError,
    FeatureCache,
    ShardError,
    build_cache,
    video_table,
)
from focusgym.feature_cache.building import build, writer
from focusgym.recognizer import Encoder, PatchGrid

CLASSES = [str(i) for i in range(10)]
Encoders = dict[str, Encoder]


def test_broken_videos_are_named_and_nothing_else_is_lost(
    built: FeatureCache,
    videos: pd.DataFrame,
    encoders: Encoders,
    config: CacheConfig,
    tmp_path: Path,
) -> None:
    damaged, root = broken(videos, tmp_path / "v"), tmp_path / "c"
    with pytest.raises(CacheError, match="4 video.s. cannot be read; the other 1 of 5 rows") as e:
        build_cache(damaged, CLASSES, root, encoders, config)
    for number in (1, 2, 3):
        assert f"{number}.mp4 cannot be decoded" in str(e.value)
    assert "4.mp4: no such video" in str(e.value)
    assert "or add --skip-missing to go on without them" in str(e.value)
    assert not root.exists()
    # The files are mended: the same call encodes only those, and ends like any other build.
    for number in range(1, 5):
        (tmp_path / "v" / f"{number}.mp4").write_bytes(Path(videos["path"][number]).read_bytes())
    cache = FeatureCache.open(build_cache(damaged, CLASSES, root, encoders, config))
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
    root = build_cache(damaged, CLASSES, tmp_path / "c", encoders, config, skip_missing=True)
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
        build_cache(missing, CLASSES, tmp_path / "d", encoders, config, skip_missing=True)


def test_a_complete_cache_is_left_as_it_is(
    built: FeatureCache,
    videos: pd.DataFrame,
    encoders: Encoders,
    config: CacheConfig,
) -> None:
    before = {path: path.stat().st_mtime_ns for path in built.root.rglob("*")}
    build_cache(videos, CLASSES, built.root, encoders, config)
    assert {path: path.stat().st_mtime_ns for path in built.root.rglob("*")} == before
    other = replace(config, dtype="float32")
    with pytest.raises(
        CacheError, match="is a complete cache of other videos or settings .dtype differ"
    ):
        build_cache(videos, CLASSES, built.root, encoders, other)


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
        replace(config, groups=(small_group(PatchGrid(96, 28)),))
    with pytest.raises(ValueError, match="dtype must be float16 or float32; got 'int8'"):
        replace(config, dtype="int8")
    with pytest.raises(ValueError, match="device must be cpu, cuda or cuda:N; got 'tpu'"):
        replace(config, device="tpu")
    with pytest.raises(ValueError, match="of different names, and at least one; got none"):
        replace(config, groups=())
    with pytest.raises(ValueError, match="at least one; got p28_7x7, p28_7x7"):
        replace(config, groups=config.groups * 2)
    for shard, message in (
        ((0, 2), "1 <= i <= n; got 0/2"),
        ((1, 6), "6 shards of 5 rows: give at most one shard per row"),
    ):
        with pytest.raises(ShardError, match=message):
            build_cache(videos, CLASSES, root, encoders, config, shard=shard)
    lock = FileLock(f"{root}.lock")
    with lock, pytest.raises(CacheError, match="is being written by another process: wait for it"):
        build_cache(videos, CLASSES, root, encoders, config)
    assert not root.exists()
    with monkeypatch.context() as patch:
        patch.setattr(writer, "free_bytes", lambda root: 1000)
        with pytest.raises(
            CacheError, match=r"needs 0\.000\d+ GB, .* 1e-06 GB free: free some, build on"
        ):
            build_cache(videos, CLASSES, root, encoders, config)
    assert not (tmp_path / "cache.partial").exists()
    with torch.no_grad():
        next(encoders["local"].parameters()).fill_(float("nan"))
    with pytest.raises(CacheError, match="features are not finite in float16: check the encoders"):
        build_cache(videos, CLASSES, root, encoders, config)
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
        build_cache(videos, CLASSES, root, encoders, config)
    monkeypatch.undo()
    journal = (tmp_path / "c.partial" / "journal.jsonl").read_text().splitlines()
    assert [json.loads(line)["row"] for line in journal[1:]] == [0, 1]
    build_cache(videos, CLASSES, root, encoders, config)
    for path in built.root.rglob("*.*"):
        assert (root / path.relative_to(built.root)).read_bytes() == path.read_bytes()


def test_other_settings_are_refused_until_restart(
    videos: pd.DataFrame, encoders: Encoders, config: CacheConfig, tmp_path: Path
) -> None:
    damaged, root = broken(videos, tmp_path / "v"), tmp_path / "c"
    with pytest.raises(CacheError, match="cannot be read"):
        build_cache(damaged, CLASSES, root, encoders, config)
    other = replace(config, dtype="float32")
    message = (
        r"was begun with other settings \(dtype\): go on .* \(1 of 5 rows are there\), give another"
    )
    with pytest.raises(CacheError, match=message):
        build_cache(videos, CLASSES, root, encoders, other)
    assert (
        FeatureCache.open(build_cache(videos, CLASSES, root, encoders, other, restart=True)).dtype
        == torch.float32
    )


def test_what_was_not_noted_of_a_skipped_video_is_wiped(
    videos: pd.DataFrame, encoders: Encoders, config: CacheConfig, tmp_path: Path
) -> None:
    damaged, root = broken(videos, tmp_path / "v"), tmp_path / "c"
    with pytest.raises(CacheError, match="cannot be read"):
        build_cache(damaged, CLASSES, root, encoders, config)
    # As if killed after rows were written and before they were noted.
    array = np.load(tmp_path / "c.partial" / "glance_maps.npy", mmap_mode="r+")
    array[1:] = 1.0
    array.flush()
    build_cache(damaged, CLASSES, root, encoders, config, skip_missing=True)
    clean = build_cache(damaged, CLASSES, tmp_path / "clean", encoders, config, skip_missing=True)
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
        build_cache(damaged, CLASSES, root, encoders, config)
    (tmp_path / "v").rename(tmp_path / "away")
    with pytest.raises(CacheError, match="4 video.s. cannot be read"):
        build_cache(damaged, CLASSES, root, encoders, config)
    (tmp_path / "away").rename(tmp_path / "v")
    encoded: list[str] = []
    real = build.encode_row
    monkeypatch.setattr(
        build, "encode_row", lambda clip, *args: (encoded.append(clip.path), real(clip, *args))[1]
    )
    build_cache(damaged, CLASSES, root, encoders, config, skip_missing=True)
    assert sorted(encoded) == damaged["path"].tolist()[3:], "the three rows were kept"


def test_places_that_cannot_be_written(
    videos: pd.DataFrame, encoders: Encoders, config: CacheConfig, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CacheError, match="nothing can be written in .*file .*: give another"):
        build_cache(videos, CLASSES, tmp_path / "file" / "c", encoders, config)
    with pytest.raises(CacheError, match="cannot be read"):
        build_cache(broken(videos, tmp_path / "v"), CLASSES, tmp_path / "c", encoders, config)
    (tmp_path / "c.partial" / "glance_maps.npy").write_bytes(b"short")
    with pytest.raises(CacheError, match=r"glance_maps\.npy is damaged .*: remove .*partial and"):
        build_cache(broken(videos, tmp_path / "v"), CLASSES, tmp_path / "c", encoders, config)


def test_a_cache_that_another_process_finished(
    built: FeatureCache,
    videos: pd.DataFrame,
    encoders: Encoders,
    config: CacheConfig,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(build, "is_complete", lambda root, identity: False)
    with pytest.raises(CacheError, match="was finished by another process meanwhile: run the same"):
        build_cache(videos, CLASSES, built.root, encoders, config)
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
        build_cache(videos, CLASSES, tmp_path / "c", encoders, config)
    monkeypatch.undo()
    root = build_cache(videos, CLASSES, tmp_path / "c", encoders, config)
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
        build_cache(table, CLASSES, tmp_path / "c", encoders, config)
