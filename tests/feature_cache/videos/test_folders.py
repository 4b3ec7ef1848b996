"""One folder per class, and folders that cannot be used."""

from __future__ import annotations

import os
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


def fill(folder: Path, names: range) -> None:
    for name in names:
        touch(folder / f"{name}.mp4")


def test_hidden_files_and_folders_are_no_classes_and_no_videos(tmp_path: Path) -> None:
    for name in ("run", "walk"):
        fill(tmp_path / name, range(3))
    fill(tmp_path / ".ipynb_checkpoints", range(2))
    fill(tmp_path / "walk" / ".trash", range(2))
    touch(tmp_path / "walk" / "._0.mp4")
    listed = read_videos(tmp_path)
    assert listed.classes == ["run", "walk"]
    assert len(listed.videos) == 6
    expected = ".ipynb_checkpoints, walk/._0.mp4, walk/.trash"
    assert listed.notes == (f"3 passed over, hidden: {expected}",)


def test_what_is_passed_over_is_told(tmp_path: Path) -> None:
    for name in ("run", "walk"):
        fill(tmp_path / name, range(3))
    for name in ("a.txt", "b.srt", "c.jpg", "d.json"):
        touch(tmp_path / "run" / name)
    touch(tmp_path / "stray.mp4")
    touch(tmp_path / "empty" / "notes.md")
    os.mkfifo(tmp_path / "walk" / "pipe.mp4")
    assert read_videos(tmp_path).notes == (
        "5 passed over, not named like a video: empty/notes.md, run/a.txt, run/b.srt and 2 more",
        "1 passed over, a folder without a video: empty",
        "1 passed over, in no folder of a class: stray.mp4",
        "1 passed over, no regular file: walk/pipe.mp4",
    )


def test_linked_folders_are_followed_once(tmp_path: Path) -> None:
    root = tmp_path / "clips"
    fill(root / "walk", range(3))
    fill(tmp_path / "disk" / "run", range(3))
    fill(tmp_path / "disk" / "more", range(10, 20))
    (root / "run").symlink_to(tmp_path / "disk" / "run")
    (root / "walk" / "more").symlink_to(tmp_path / "disk" / "more")
    (root / "walk" / "once more").symlink_to(tmp_path / "disk" / "more")
    (root / "walk" / "gone").symlink_to(tmp_path / "nowhere")
    listed = read_videos(root)
    assert listed.videos["label"].tolist() == [0] * 3 + [1] * 13
    assert listed.videos["name"].tolist()[6] == "walk/more/10.mp4"
    assert listed.notes == (
        "1 passed over, not named like a video: walk/gone",
        "1 passed over, links to a folder that was taken already: walk/once more",
    )


def test_loops_of_links_are_refused(tmp_path: Path) -> None:
    for name in ("run", "walk"):
        fill(tmp_path / name, range(3))
    (tmp_path / "walk" / "all").symlink_to(tmp_path)
    (tmp_path / "run" / "again").symlink_to(tmp_path / "run")
    with pytest.raises(VideoListError) as caught:
        read_videos(tmp_path)
    lines = str(caught.value).splitlines()
    assert lines[0] == "2 problem(s) in the list of videos:"
    assert lines[1:3] == [
        "  run/again links to a folder that it is in: remove it",
        "  walk/all links to a folder that it is in: remove it",
    ]
