"""Caches whose folder, or whose videos, are no longer where they were when the cache was built."""

from __future__ import annotations

import json
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from focusgym.feature_cache import (
    AugmentConfig,
    CacheConfig,
    FeatureCache,
    VideoError,
    build_cache,
    build_regrouped,
    cache_info,
    clips_of,
    merge_shards,
    read_frames,
    read_lists,
    verify_cache,
)
from focusgym.feature_cache.building import build
from focusgym.feature_cache.reading.roots import common_folder, path_from
from focusgym.recognizer import Encoder, PatchGrid

Encoders = dict[str, Encoder]
ALL = np.arange(6)  # two copies each of two training videos, and one of each other split


def make_videos(root: Path, videos: pd.DataFrame, outside: Path) -> None:
    """Write what lists may name: files, a part of a file, images, and a file that is elsewhere."""
    for folder in (root / "videos", root / "frames" / "x", outside.parent):
        folder.mkdir(parents=True)
    for place, target in enumerate((root / "videos" / "0.mp4", root / "1.mp4", outside)):
        shutil.copy(videos["path"][place], target)
    for number in range(1, 5):
        picture = np.full((64, 64, 3), 40 * number, dtype=np.uint8)
        Image.fromarray(picture).save(root / "frames" / "x" / f"image_{number:05d}.jpg")
    lists = {"train": "0.mp4,0,,\nframes/x,1,,", "val": "1.mp4,1,0.1,0.6", "test": f"{outside},0,,"}
    for split, lines in lists.items():
        (root / f"{split}.csv").write_text(f"path,label,start_s,end_s\n{lines}\n")


def build_in(
    root: Path,
    encoders: Encoders,
    config: CacheConfig,
    shard: tuple[int, int] | None = None,
    name: str = "cache",
) -> Path:
    """Build a cache beside the folder ``clips`` of its videos, as `focusgym cache build` does."""
    clips = root / "clips"
    lists = {split: clips / f"{split}.csv" for split in ("train", "val", "test")}
    listed = read_lists(clips, lists, "csv")
    how = replace(config, augment=AugmentConfig(2))
    where = {"shard": shard, "videos_root": clips.resolve()}
    return build_cache(listed.videos, listed.classes, root / name, encoders, how, **where)


def files(folder: Path) -> dict[str, bytes]:
    """Return the files of a cache, but for what it says of the place of its videos."""
    contents = {
        str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }
    manifest = json.loads(contents.pop("manifest.json"))
    del manifest["videos_root"]
    return {**contents, "manifest": json.dumps(manifest).encode()}


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    return tmp_path / "outside" / "2.mp4"


@pytest.fixture
def project(
    tmp_path: Path, videos: pd.DataFrame, outside: Path, encoders: Encoders, config: CacheConfig
) -> Path:
    """A folder with ``clips`` and ``cache``."""
    root = tmp_path / "old" / "project"
    make_videos(root / "clips", videos, outside)
    build_in(root, encoders, config)
    return root


def test_a_table_names_videos_from_their_folder(project: Path, outside: Path) -> None:
    table = pd.read_csv(project / "cache" / "videos.csv")
    names = ["videos/0.mp4"] * 2 + ["frames/x"] * 2 + ["1.mp4", str(outside)]
    assert table["path"].tolist() == names
    manifest = json.loads((project / "cache" / "manifest.json").read_text())
    clips = str((project / "clips").resolve())
    assert manifest["videos_root"] == {"from_cache": "../clips", "absolute": clips}
    cache = FeatureCache.open(project / "cache")
    assert cache.videos_root == Path(clips)
    assert cache.videos["path"].tolist() == [f"{clips}/{name}" for name in names[:-1]] + names[-1:]
    assert cache_info(cache.root)[0]["videos"] == clips


def test_everything_is_moved(
    project: Path, encoders: Encoders, config: CacheConfig, tmp_path: Path
) -> None:
    """The parent is renamed; nothing is left at the old place. What is built there is the same."""
    before, fingerprint = files(project / "cache"), FeatureCache.open(project / "cache").fingerprint
    (tmp_path / "old").rename(tmp_path / "new")
    root = tmp_path / "new" / "project"
    assert verify_cache(root / "cache", sample=100) == []
    cache = FeatureCache.open(root / "cache")
    assert cache.fingerprint == fingerprint
    assert cache.videos_root == root / "clips"
    clips = cache.clips(ALL)
    assert clips == clips_of(cache.videos)
    # Draws of frames and crops are keyed by the list's names: not by where the videos are.
    augment = AugmentConfig(2)
    for row, view in ((1, 1), (2, 0)):
        taken = read_frames(clips[row], cache.frames, augment, view)[1]
        stored = cache.view(row)
        assert (taken.crop_px, taken.flipped) == (stored.crop_px, stored.flipped)
        assert taken.frame_indices.tolist() == stored.frame_indices.tolist()
    unpickled = pickle.loads(pickle.dumps(cache))
    assert unpickled.videos["path"].tolist() == cache.videos["path"].tolist()
    assert files(build_in(root, encoders, config, name="again")) == before
    assert build_in(root, encoders, config) == root / "cache", "complete already"
    grid = PatchGrid(64, 20, 2)
    other = FeatureCache.open(build_regrouped(cache, grid, root / "other"))
    assert other.videos_root == root / "clips"
    assert verify_cache(other.root, sample=100) == []


def test_the_cache_alone_is_moved(project: Path, tmp_path: Path) -> None:
    """The videos are where they were; a folder of the same name beside the cache is another."""
    (tmp_path / "far" / "clips").mkdir(parents=True)
    moved = shutil.move(project / "cache", tmp_path / "far" / "cache")
    assert verify_cache(moved, sample=100) == []
    assert FeatureCache.open(moved).videos_root == project / "clips"
    (tmp_path / "link").symlink_to(moved)
    assert verify_cache(tmp_path / "link", sample=100) == []


def test_the_videos_are_moved(project: Path, tmp_path: Path, outside: Path) -> None:
    """They are looked for in vain, and a sentence says where; `videos_root` says where they are."""
    moved = tmp_path / "disk" / "of clips"
    moved.parent.mkdir()
    (project / "clips").rename(moved)
    gone, cache = project / "clips" / "videos" / "0.mp4", FeatureCache.open(project / "cache")
    with pytest.raises(VideoError) as caught:
        cache.clips(ALL)
    assert str(caught.value) == (
        f"{gone}: no such video; {cache.root} looks for its videos in {project / 'clips'}: put the "
        "file back, or say where the folder of the videos is now, with --videos-root (videos_root "
        "in Python)"
    )
    wrong = verify_cache(cache.root, sample=100)
    assert len(wrong) == 5
    assert all("--videos-root" in sentence for sentence in wrong)
    assert verify_cache(cache.root, sample=100, videos_root=moved) == []
    opened = FeatureCache.open(cache.root, videos_root=moved)
    assert [Path(clip.path) for clip in opened.clips(ALL)][3:] == [
        *(moved / "frames" / "x", moved / "1.mp4", outside)
    ]
    # In two places by turns, both are named.
    copied = shutil.copytree(cache.root, tmp_path / "copied" / "cache")
    with pytest.raises(VideoError, match=f"in {tmp_path / 'copied' / 'clips'} and {project}"):
        FeatureCache.open(copied).clips(ALL)


def test_another_video_of_that_name_is_refused(project: Path, videos: pd.DataFrame) -> None:
    shutil.copy(videos["path"][3], project / "clips" / "videos" / "0.mp4")
    cache = FeatureCache.open(project / "cache")
    with pytest.raises(VideoError, match=r"0\.mp4 has \d+ bytes, and had \d+ when .*-root"):
        cache.clips(ALL[:1])
    assert cache.clips(ALL[2:])


def test_shards_from_several_machines(
    project: Path, encoders: Encoders, config: CacheConfig, tmp_path: Path
) -> None:
    """Each has its videos elsewhere; merged they name those of the first, wherever that is done."""
    other = shutil.copytree(project / "clips", tmp_path / "b" / "deep" / "clips").parent
    parts = [build_in(project, encoders, config, (1, 2), "part1")]
    parts.append(build_in(other, encoders, config, (2, 2), "part2"))
    unsharded = files(project / "cache")
    merged = merge_shards(parts, project / "merged")
    assert files(merged) == unsharded
    assert (merged / "manifest.json").read_text() == (
        project / "cache" / "manifest.json"
    ).read_text(), "byte for byte, where the place is the same"
    # Merged where none of the videos are, then used where they are.
    far = [shutil.move(part, tmp_path / f"far{i}") for i, part in enumerate(parts)]
    (project / "clips").rename(project / "away")
    merged = merge_shards(far, tmp_path / "x" / "y" / "merged")
    (project / "away").rename(project / "clips")
    assert files(merged) == unsharded
    assert verify_cache(merged, sample=100) == []


def test_a_build_goes_on_at_another_place(
    project: Path,
    encoders: Encoders,
    config: CacheConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    uninterrupted, real, encoded = files(project / "cache"), build.encode_row, []

    def stop(*args: object) -> object:
        if len(encoded) == 3:
            raise KeyboardInterrupt
        encoded.append(args)
        return real(*args)  # type: ignore[arg-type]

    shutil.rmtree(project / "cache")
    monkeypatch.setattr(build, "encode_row", stop)
    with pytest.raises(KeyboardInterrupt):
        build_in(project, encoders, config)
    project.rename(tmp_path / "moved")
    monkeypatch.setattr(build, "encode_row", lambda *args: encoded.append(args) or real(*args))
    assert files(build_in(tmp_path / "moved", encoders, config)) == uninterrupted
    assert len(encoded) == 6, "rows that were kept are not encoded again"


def test_names_from_a_folder() -> None:
    assert common_folder(["/a/b/c.mp4", "/a/b/d/e.mp4", "/a/bc/f.mp4"]) == "/a"
    assert common_folder(["/a/b/c.mp4"]) == "/a/b"
    assert common_folder([]) == common_folder(["c.mp4", "/a/b.mp4"]) == ""
    assert path_from("/a/b", "/a/b/c/d.mp4") == "c/d.mp4"
    assert path_from("/", "/a/b.mp4") == "a/b.mp4"
    for root in ("/a/b", ""):
        assert path_from(root, "/a/bc/d.mp4") == "/a/bc/d.mp4"
        assert path_from(root, "c/d.mp4") == "c/d.mp4"
