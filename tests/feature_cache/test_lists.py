from __future__ import annotations

from pathlib import Path

import pytest

from focusgym.feature_cache import VideoListError, read_videos


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def make_lists(root: Path, train: list[str], val: list[str]) -> None:
    root.mkdir(exist_ok=True)
    (root / "train.txt").write_text("\n".join(train))
    (root / "val.txt").write_text("\n".join(val))


def test_lists_with_spaces_in_paths(tmp_path: Path) -> None:
    for i in range(6):
        touch(tmp_path / "videos" / f"a b {i}.mp4")
        touch(tmp_path / f"c{i}.mp4")
    train = [f"a b {i}.mp4 30 0" for i in range(5)] + [f"c{i}.mp4 30 1" for i in range(5)]
    make_lists(tmp_path, [*train, ""], ["a b 5.mp4 30 0", "c5.mp4 30 1"])
    (tmp_path / "classes.txt").write_text("to the left\nright\n\n")
    videos, classes = read_videos(tmp_path)
    assert classes == ["to the left", "right"]
    assert len(videos) == 12
    counts = videos.groupby(["label", "split"]).size().to_dict()
    expected = {"train": 4, "val": 1, "test": 1}
    assert counts == {(label, split): n for label in (0, 1) for split, n in expected.items()}
    # What is listed in val.txt is the test split, and nothing else is.
    test = videos[videos["split"] == "test"]["path"].map(lambda path: Path(path).name)
    assert sorted(test) == ["a b 5.mp4", "c5.mp4"]
    val = videos[videos["split"] == "val"]["path"].map(lambda path: Path(path).name)
    assert sorted(val) == ["a b 4.mp4", "c4.mp4"], "the last of each class in train.txt"


def test_a_folder_per_class(tmp_path: Path) -> None:
    for name in ("walk", "run"):
        for i in range(10):
            touch(tmp_path / name / f"{i}.mp4")
    touch(tmp_path / "run" / "notes.txt")
    videos, classes = read_videos(tmp_path)
    assert classes == ["run", "walk"]
    counts = videos.groupby(["label", "split"]).size().to_dict()
    expected = {"train": 6, "val": 2, "test": 2}
    assert counts == {(label, split): n for label in (0, 1) for split, n in expected.items()}


def test_all_problems_are_shown_at_once_with_line_numbers(tmp_path: Path) -> None:
    for i in range(4):
        touch(tmp_path / f"{i}.mp4")
    lines = ["0.mp4 9 0", "gone.mp4 9 0", "1.mp4 9", "2.mp4 9 x", "0.mp4 9 0", "3.mp4 9 7"]
    make_lists(tmp_path, lines, [])
    (tmp_path / "classes.txt").write_text("a\nb\nc c\n")
    with pytest.raises(VideoListError) as caught:
        read_videos(tmp_path)
    message = str(caught.value)
    assert message.startswith("5 problem(s) in the list of videos")
    assert "train.txt:2: no such video" in message
    assert "train.txt:3: expected 'path frames label'; got '1.mp4 9'" in message
    assert "train.txt:4: expected 'path frames label'; got '2.mp4 9 x'" in message
    assert "train.txt:5: 0.mp4 is listed already at train.txt:1" in message
    assert "labels go up to 7, but classes.txt names 3 classes" in message


def test_lists_that_cannot_be_used(tmp_path: Path) -> None:
    for i in range(8):
        touch(tmp_path / f"{i}.mp4")
    train = [f"{i}.mp4 9 {i % 2}" for i in range(6)]
    make_lists(tmp_path, train, [])
    with pytest.raises(VideoListError, match=r"val\.txt: no videos: it becomes the test split"):
        read_videos(tmp_path)
    make_lists(tmp_path, train, [f"../{tmp_path.name}/0.mp4 9 0", "7.mp4 nine 0", "6.mp4 9 ²"])
    with pytest.raises(VideoListError) as caught:
        read_videos(tmp_path)
    assert "0.mp4 is listed already at train.txt:1" in str(caught.value)
    assert "val.txt:2: expected 'path frames label'" in str(caught.value)
    assert "val.txt:3: expected 'path frames label'" in str(caught.value)
    (tmp_path / "val.txt").write_bytes("é.mp4 9 0".encode("latin-1"))
    with pytest.raises(VideoListError, match="is not UTF-8 text .*: save it as UTF-8"):
        read_videos(tmp_path)


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
    (tmp_path / "train.txt").touch()
    with pytest.raises(VideoListError, match=r"train\.txt is there, but val\.txt is not"):
        read_videos(tmp_path)


def test_the_real_lists(real_data: Path) -> None:
    videos, classes = read_videos(real_data / "gestures")
    assert len(classes) == 10
    assert videos["split"].value_counts()["test"] == 37
    assert len(videos) == 157
    serial = videos["path"].str.extract(r"_(\d+)\.mp4")[0]
    recordings = [set(serial[videos["split"] == name]) for name in ("train", "val", "test")]
    assert sum(map(len, recordings)) == len(set.union(*recordings)), "no recording in two splits"
