"""Files that name the classes: with and without a header, with and without numbers."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import touch

from focusgym.feature_cache import VideoListError, read_lists
from focusgym.feature_cache.videos.class_names import parse_class_names

NAMES = ["abseiling", "air drumming", "zumba"]
HEADER = "is taken for a header"
NUMBERS = "each line is taken for the number of a class and its name"
FROM_1 = f"{NUMBERS}, from 1: labels are taken to count from 1 too"


@pytest.mark.parametrize(
    ("text", "notes"),
    [
        ("abseiling\nair drumming\nzumba\n", []),
        ("name\nabseiling\nair drumming\nzumba", [HEADER]),
        ("id,name\n0,abseiling\n1,air drumming\n2,zumba", [HEADER, NUMBERS]),
        ("# number name\n0 abseiling\n1 air drumming\n2 zumba", [HEADER, NUMBERS]),
        ("id,display_name,extra\n0,abseiling\n1,air drumming\n2,zumba", [HEADER, NUMBERS]),
        ("category\nabseiling\nair drumming\nzumba", [HEADER]),
        ('"0","abseiling"\n"1","air drumming"\n"2","zumba"', [NUMBERS]),
        ("0: abseiling\n1: air drumming\n2: zumba", [NUMBERS]),
        ("0 abseiling\n1 air drumming\n2 zumba", [NUMBERS]),
        ("2\tzumba\r\n0\tabseiling\r\n\r\n1\tair drumming\r\n", [NUMBERS]),
        ("1 abseiling\n3 zumba\n2 air drumming", [FROM_1]),
        ("id,name\n1,abseiling\n2,air drumming\n3,zumba", [HEADER, FROM_1]),
        ('Label,Index\nabseiling,0\nair drumming,1\n"zumba",2', [HEADER, NUMBERS]),
    ],
)
def test_names_in_the_order_of_their_numbers(text: str, notes: list[str]) -> None:
    parsed = parse_class_names(text)
    assert parsed.names == NAMES
    assert parsed.problems == []
    assert parsed.first == (FROM_1 in notes)
    assert len(parsed.notes) == len(notes)
    assert all(
        parsed_note.endswith(note) for parsed_note, note in zip(parsed.notes, notes, strict=True)
    )


def test_names_that_begin_with_numbers_are_names() -> None:
    names = ["3 point shot", "10 pin bowling", "dribble"]
    assert parse_class_names("\n".join(names)).names == names
    names = ["100 m hurdles", "200 m", "400 m"]
    assert parse_class_names("\n".join(names)).names == names
    assert parse_class_names("0\n1\n2").names == ["0", "1", "2"]


def test_what_cannot_be_meant_is_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        touch(tmp_path / f"{name}.mp4")
    (tmp_path / "train.txt").write_text("a.mp4 1 0\nb.mp4 1 1")
    lists = {"test": tmp_path / "train.txt"}
    for text, problem in (
        (
            "1 a\n2 b",
            "train.txt:1: label 0 is before the first class, which the classes file numbers 1",
        ),
        (
            "id,name\n0,a\n5,b",
            "classes.txt: the header has 2 columns: expected a number, all from 0 or from 1 on",
        ),
        ("0 a\n1 a", "classes.txt:2: class 'a' is named already in line 1"),
    ):
        (tmp_path / "classes.txt").write_text(text)
        with pytest.raises(VideoListError, match=problem):
            read_lists(tmp_path, lists, classes=tmp_path / "classes.txt")
    (tmp_path / "train.txt").write_text("a.mp4 1 1\nb.mp4 1 2\na.mp4 1 3")
    (tmp_path / "classes.txt").write_text("1 a\n2 b")
    with pytest.raises(VideoListError, match="train.txt:3: label 3 is beyond the 2 classes of the"):
        read_lists(tmp_path, lists, classes=tmp_path / "classes.txt")
    (tmp_path / "train.txt").write_text("a.mp4 1 0\nb.mp4 1 1")
    (tmp_path / "classes.txt").write_text("id,name\n0,first\n1,second")
    listed = read_lists(tmp_path, lists, classes=tmp_path / "classes.txt")
    assert listed.classes == ["first", "second"]
    assert listed.notes[0] == "classes.txt: line 1, 'id,name', is taken for a header"
