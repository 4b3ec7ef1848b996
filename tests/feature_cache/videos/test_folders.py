"""One folder per class, and folders that cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import make_images, rows_of, touch

from focusgym.feature_cache import VideoListError, read_videos


def test_a_folder_per_class(tmp_path: Path) -> None:
    for i in range(10):
        touch(tmp_path / "walk" / f"{i}.mp4")
        touch(tmp_path / "run" / "day 1" / f"{i}.MP4")
    touch(tmp_path / "run" / "notes.txt")
    touch(tmp_path / "no class" / "notes.txt")
    listed = read_videos(tmp_path)
    assert listed.classes == ["run", "walk"]
    counts = listed.videos.groupby(["label", "split"]).size().to_dict()
    expected = {"train": 6, "val": 2, "test": 2}
    assert counts == {(label, split): n for label in (0, 1) for split, n in expected.items()}
    assert rows_of(listed.videos)[9:11] == [
        ("run/day 1/9.MP4", 0, "0", "val", None, None, "", 0, ""),
        ("walk/0.mp4", 1, "1", "train", None, None, "", 0, ""),
    ]


def test_a_folder_per_class_with_folders_of_images(tmp_path: Path) -> None:
    for i in range(3):
        make_images(tmp_path / "a" / f"v{i}", "%06d.jpg", i + 1)
        make_images(tmp_path / "b" / "deep" / f"v{i}", "image_%05d.jpg", 2)
    touch(tmp_path / "a" / "v1" / "preview.mp4")
    touch(tmp_path / "a" / "v3.mp4")
    videos = read_videos(tmp_path).videos
    assert rows_of(videos) == [
        ("a/v0", 0, "0", "train", None, None, "%06d.jpg", 1, ""),
        ("a/v1", 0, "0", "train", None, None, "%06d.jpg", 2, ""),
        ("a/v2", 0, "0", "test", None, None, "%06d.jpg", 3, ""),
        ("a/v3.mp4", 0, "0", "val", None, None, "", 0, ""),
        ("b/deep/v0", 1, "1", "train", None, None, "image_%05d.jpg", 2, ""),
        ("b/deep/v1", 1, "1", "test", None, None, "image_%05d.jpg", 2, ""),
        ("b/deep/v2", 1, "1", "val", None, None, "image_%05d.jpg", 2, ""),
    ]
    (tmp_path / "a" / "v0" / "000004.jpg").write_bytes(b"x")
    with pytest.raises(VideoListError, match="a/v0: .*/a/v0: 000002.jpg is not there, but 000004"):
        read_videos(tmp_path)
    missing = read_videos(tmp_path, skip_missing=True).videos["missing"]
    assert (missing != "").tolist() == [True] + [False] * 6


def test_folders_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(VideoListError, match="is not a folder: give the folder that holds"):
        read_videos(tmp_path / "nowhere")
    with pytest.raises(VideoListError, match=r"neither train\.txt and val\.txt nor a folder per"):
        read_videos(tmp_path)
    touch(tmp_path / "only" / "0.mp4")
    with pytest.raises(VideoListError, match="has 1 class; recognition needs at least 2"):
        read_videos(tmp_path)
    touch(tmp_path / "other" / "0.mp4")
    with pytest.raises(VideoListError, match="class only has 1 videos to divide into train and"):
        read_videos(tmp_path)
    (tmp_path / "only" / "0.mp4").write_bytes(b"")
    with pytest.raises(VideoListError, match=r"  only/0\.mp4: .*/only/0\.mp4 is empty"):
        read_videos(tmp_path)
    (tmp_path / "train.txt").touch()
    with pytest.raises(VideoListError, match=r"train\.txt is there, but val\.txt is not"):
        read_videos(tmp_path)
