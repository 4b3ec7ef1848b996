"""Tables of all splits: a column of a CSV list, and videos.csv in a folder of videos."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import touch

from focusgym.feature_cache import (
    DigitsConfig,
    VideoList,
    VideoListError,
    make_digits,
    read_lists,
    read_videos,
)

ROWS = ["a,0,train", "b,1,train", "c,0,val", "d,1,test", "e,0,train", "f,1,test"]


def write_table(root: Path, rows: list[str], header: str = "path,label,split") -> Path:
    for row in rows:
        touch(root / f"{row.split(',', maxsplit=1)[0]}.mp4")
    (root / "videos.csv").write_text("\n".join([header, *rows]))
    return root / "videos.csv"


def splits(listed: VideoList) -> dict[str, str]:
    return dict(zip(listed.videos["name"], listed.videos["split"], strict=True))


def message_of(root: Path) -> str:
    with pytest.raises(VideoListError) as caught:
        read_videos(root)
    return str(caught.value)


def test_the_column_says_which_split(tmp_path: Path) -> None:
    """And a table that has videos to select on is not divided again."""
    table = write_table(tmp_path, ROWS)
    listed = read_videos(tmp_path)
    assert splits(listed) == {row[0]: row.split(",")[2] for row in ROWS}
    assert listed.classes == ["0", "1"]
    assert splits(read_lists(tmp_path, {"train": table})) == splits(listed)
    assert splits(read_lists(tmp_path, {"test": table})) == splits(listed), "whatever list it is of"
    (tmp_path / "classes.txt").write_text("left\nright\n")
    assert read_videos(tmp_path).classes == ["left", "right"]


def test_other_columns_and_other_lists_beside_it(tmp_path: Path) -> None:
    rows = ["a,train,left,0.5,2", "b,train,right,,", "c,test,left,,3"]
    write_table(tmp_path, rows, "path,split,label,start_s,end_s")
    touch(tmp_path / "d.mp4")
    (tmp_path / "val.csv").write_text("path,label\nd,right\n")
    lists = {"train": tmp_path / "videos.csv", "val": tmp_path / "val.csv"}
    listed = read_lists(tmp_path, lists)
    assert splits(listed) == {"a": "train", "b": "train", "c": "test", "d": "val"}
    assert listed.classes == ["left", "right"]
    assert listed.videos["start_s"].tolist()[0] == 0.5


def test_without_videos_to_select_on_some_are_held_out(tmp_path: Path) -> None:
    """The last fifth of each class of the training videos, as of other lists; no test video."""
    rows = [f"{label}{i},{label},train" for label in (0, 1) for i in range(5)]
    write_table(tmp_path, [*rows, "x,0,test", "y,1,test"])
    expected = {row.split(",")[0]: "train" for row in rows} | {"04": "val", "14": "val"}
    assert splits(read_videos(tmp_path)) == expected | {"x": "test", "y": "test"}


def test_what_is_wrong_is_told_with_its_line(tmp_path: Path) -> None:
    write_table(tmp_path, ["a,0,train", "b,1,valid", "c,0,", "d,1,Test", "e,1,val"])
    message = message_of(tmp_path)
    assert "videos.csv:3: split must be one of train, val, test; got 'valid'" in message
    assert "videos.csv:4: split must be one of train, val, test; got ''" in message
    assert "videos.csv:5: split must be one of train, val, test; got 'Test'" in message
    assert "3 problem(s)" in message


def test_a_table_without_the_column_is_refused(tmp_path: Path) -> None:
    """In a folder; as a list it is one of its split."""
    table = write_table(tmp_path, ["a,0", "b,1", "c,0", "d,1"], "path,label")
    message = message_of(tmp_path)
    assert message.endswith(
        f"{tmp_path.resolve()}/videos.csv has no column split, which tells train, val and test "
        "apart: add it, or give the table as a list: --train"
    )
    assert {*splits(read_lists(tmp_path, {"test": table})).values()} == {"test"}
    write_table(tmp_path, ["a,0,1,train"], "path,label,speed,split")
    assert "speed" in message_of(tmp_path)


def test_a_table_is_found_before_lists_and_folders(tmp_path: Path) -> None:
    write_table(tmp_path, ROWS)
    (tmp_path / "train.txt").write_text("a 3 0\nb 3 1\n")
    assert len(read_videos(tmp_path).videos) == len(ROWS)


def test_the_data_of_a_quickstart_are_read_as_they_are(tmp_path: Path) -> None:
    root = tmp_path / "digits"
    table = make_digits(DigitsConfig(n_train=12, n_val=2, n_test=3, n_frames=4), root)
    videos = read_videos(root).videos
    assert videos["label"].tolist() == table["label"].tolist()
    assert videos["split"].tolist() == table["split"].tolist()
    assert videos["path"].tolist() == [str(root.resolve() / path) for path in table["path"]]
