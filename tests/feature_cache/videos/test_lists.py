from __future__ import annotations

import os
from pathlib import Path

import pytest
from support import make_images, rows_of, touch

from focusgym.feature_cache import VideoListError, read_lists, read_videos


def make_lists(root: Path, train: list[str], val: list[str]) -> None:
    root.mkdir(exist_ok=True)
    (root / "train.txt").write_text("\n".join(train))
    (root / "val.txt").write_text("\n".join(val))


def problems_of(root: Path, *arguments: object, **options: object) -> list[str]:
    """The lines of the message, without their indent."""
    with pytest.raises(VideoListError) as caught:
        read_lists(root, *arguments, **options)  # type: ignore[arg-type]
    return [line.strip() for line in str(caught.value).splitlines()]


def test_lists_with_spaces_in_paths(tmp_path: Path) -> None:
    for i in range(6):
        touch(tmp_path / "videos" / f"a b {i}.mp4")
        touch(tmp_path / f"c{i}.mp4")
    train = [f"a b {i}.mp4 30 0" for i in range(5)] + [f"c{i}.mp4 30 1" for i in range(5)]
    make_lists(tmp_path, [*train, ""], ["a b 5.mp4 30 0", "c5.mp4 30 1"])
    (tmp_path / "classes.txt").write_text("to the left\nright\n\n")
    listed = read_videos(tmp_path)
    videos = listed.videos
    assert listed.classes == ["to the left", "right"]
    assert len(videos) == 12
    counts = videos.groupby(["label", "split"]).size().to_dict()
    expected = {"train": 4, "val": 1, "test": 1}
    assert counts == {(label, split): n for label in (0, 1) for split, n in expected.items()}
    # What is listed in val.txt is the test split, and nothing else is.
    assert sorted(videos[videos["split"] == "test"]["name"]) == ["a b 5.mp4", "c5.mp4"]
    val = videos[videos["split"] == "val"]["name"]
    assert sorted(val) == ["a b 4.mp4", "c4.mp4"], "the last of each class in train.txt"
    assert videos["path"][0] == str(tmp_path.resolve() / "videos" / "a b 0.mp4")
    assert videos["path"][5] == str(tmp_path.resolve() / "c0.mp4")
    assert rows_of(videos)[0] == ("a b 0.mp4", 0, "0", "train", None, None, "", 0, "")


def test_activitynet(tmp_path: Path) -> None:
    touch(tmp_path / "videos" / "v_one.mkv")
    touch(tmp_path / "v_two.mp4")
    make_images(tmp_path / "videos" / "v_three", "image_%05d.jpg", 3)
    (tmp_path / "t.csv").write_text("v_one,90,7,3,-1\n\nv_two, 0, 5,-1,-1\nv_three,2,1,3,1\n")
    os.link(tmp_path / "v_two.mp4", tmp_path / "copy.mp4")
    (tmp_path / "v.csv").write_text("copy.mp4,4,0\n")
    listed = read_lists(
        tmp_path, {"val": tmp_path / "v.csv", "train": tmp_path / "t.csv"}, "activitynet"
    )
    assert listed.classes == [str(label) for label in range(8)]
    assert rows_of(listed.videos) == [
        ("v_one", 7, "7;3", "train", None, None, "", 0, ""),
        ("v_two", 5, "5", "train", None, None, "", 0, ""),
        ("v_three", 1, "1;3", "train", None, None, "image_%05d.jpg", 2, ""),
        ("copy.mp4", 0, "0", "val", None, None, "", 0, ""),
    ]
    names = [Path(path).relative_to(tmp_path).as_posix() for path in listed.videos["path"]]
    assert names == ["videos/v_one.mkv", "v_two.mp4", "videos/v_three", "copy.mp4"]


@pytest.mark.parametrize("template", ["%05d.jpg", "%06d.jpg", "image_%05d.jpg"])
@pytest.mark.parametrize("format", ["something", "kinetics"])
def test_folders_of_images(tmp_path: Path, template: str, format: str) -> None:
    make_images(tmp_path / "12 a", template, 4)
    touch(tmp_path / "34.webm")
    (tmp_path / "test.txt").write_text("12 a 4 1\n34 9 0\n")
    listed = read_lists(tmp_path, {"test": tmp_path / "test.txt"}, format)
    assert rows_of(listed.videos) == [
        ("12 a", 1, "1", "test", None, None, template, 4, ""),
        ("34", 0, "0", "test", None, None, "", 0, ""),
    ]


def test_a_template_of_ones_own(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        make_images(tmp_path / folder, "img(%d).jpeg", 11)
    (tmp_path / "l.csv").write_text("path,label\na,1\nb,0\n")
    lists = {"val": tmp_path / "l.csv"}
    listed = read_lists(tmp_path, lists, "csv", images="img(%d).jpeg")
    assert listed.videos["images"].tolist() == ["img(%d).jpeg"] * 2
    assert listed.videos["n_images"].tolist() == [11, 11]
    for wrong in ("frame.jpg", "%s.jpg", "%d_%d.jpg", "sub/%05d.jpg", "%.2f.jpg", "%99999d", "%"):
        with pytest.raises(VideoListError, match="images must be a file name with one %d for the"):
            read_lists(tmp_path, lists, "csv", images=wrong)
    problems = problems_of(tmp_path, lists, "csv")
    assert problems[1] == (
        f"l.csv:2: {tmp_path / 'a'} holds no image_00001.jpg or 00001.jpg or 000001.jpg"
    )


def test_images_that_are_videos_of_one_frame(tmp_path: Path) -> None:
    names = ("cats/a b.JPEG", "dogs/c.png", "d.jpg")
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        touch(tmp_path / name)
    (tmp_path / "l.txt").write_text("cats/a b.JPEG 1 0\ndogs/c.png 1 1\nd.jpg 1 1\n")
    lists = {"val": tmp_path / "l.txt"}
    assert rows_of(read_lists(tmp_path, lists, "kinetics").videos) == [
        (name, label, str(label), "val", None, None, "", 1, "")
        for name, label in zip(names, (0, 1, 1), strict=True)
    ]
    (tmp_path / "l.txt").write_text("cats/a b.JPEG 1 0\nd.jpg 3 1\n")
    assert problems_of(tmp_path, lists, "kinetics")[1] == (
        f"l.txt:2: {tmp_path / 'd.jpg'} is one image, but the list says 3 frames"
    )
    (tmp_path / "l.csv").write_text("path,label,start_s\nd.jpg,0,1\ndogs/c.png,1,\n")
    assert problems_of(tmp_path, {"val": tmp_path / "l.csv"}, "csv")[1] == (
        f"l.csv:2: start_s and end_s are for video files; {tmp_path / 'd.jpg'} is an image"
    )


def test_csv(tmp_path: Path) -> None:
    for name in ("a, b.mp4", "c.mp4", 'd "e".mp4'):
        touch(tmp_path / name)
    make_images(tmp_path / "frames", "%05d.jpg", 5)
    (tmp_path / "classes.txt").write_text("run\nhop; skip\njump\n")
    (tmp_path / "l.csv").write_text(
        "\ufeff\nlabel, path,end_s,start_s\n"
        'run,"a, b.mp4",2.5,0\n\n'
        "jump;0,c.mp4,,\n"
        '2,"d ""e"".mp4",,1.5\n'
        "hop; skip,c.mp4,3,\n"
        "1,frames,,\n",
        encoding="utf-8",
    )
    classes = tmp_path / "classes.txt"
    listed = read_lists(tmp_path, {"test": tmp_path / "l.csv"}, "csv", classes)
    assert listed.classes == ["run", "hop; skip", "jump"]
    assert rows_of(listed.videos) == [
        ("a, b.mp4", 0, "0", "test", 0.0, 2.5, "", 0, ""),
        ("c.mp4", 2, "2;0", "test", None, None, "", 0, ""),
        ('d "e".mp4', 2, "2", "test", 1.5, None, "", 0, ""),
        ("c.mp4", 1, "1", "test", None, 3.0, "", 0, ""),
        ("frames", 1, "1", "test", None, None, "%05d.jpg", 5, ""),
    ]


def test_class_names_from_labels(tmp_path: Path) -> None:
    for i in range(4):
        touch(tmp_path / f"{i}.mp4")
    (tmp_path / "a.csv").write_text("path,label\n0.mp4,run;hop\n1.mp4,walk\n")
    (tmp_path / "b.csv").write_text("path,label\n2.mp4,crawl\n")
    lists = {"val": tmp_path / "a.csv", "test": tmp_path / "b.csv"}
    listed = read_lists(tmp_path, lists, "csv")
    assert listed.classes == ["crawl", "hop", "run", "walk"]
    assert listed.videos["labels"].tolist() == ["2;1", "3", "0"]
    # One integer in one list: then names are names of nothing.
    (tmp_path / "b.csv").write_text("path,label\n2.mp4,0\n")
    assert problems_of(tmp_path, lists, "csv")[1:3] == [
        "a.csv:2: label 'run' is no integer, as others are; label 'hop' is no integer, as others "
        "are",
        "a.csv:3: label 'walk' is no integer, as others are",
    ]


def test_labels_out_of_range(tmp_path: Path) -> None:
    for i in range(8):
        touch(tmp_path / f"{i}.mp4")
    (tmp_path / "classes.txt").write_text("a\nb\n")
    (tmp_path / "l.txt").write_text(
        "path,label\n0.mp4,1\n1.mp4,2\n2.mp4,-1\n3.mp4,c\n4.mp4,0;;1\n5.mp4,0;7\n"
    )
    lists = {"val": tmp_path / "l.txt"}
    problems = problems_of(tmp_path, lists, "csv", tmp_path / "classes.txt")
    assert problems == [
        "5 problem(s) in the list of videos:",
        "l.txt:3: label 2 is beyond the 2 classes of the classes file",
        "l.txt:4: label -1 is negative",
        "l.txt:5: label 'c' is no name in the classes file",
        "l.txt:6: a label is empty",
        "l.txt:7: label 7 is beyond the 2 classes of the classes file",
        "Correct them, and run again.",
    ]
    (tmp_path / "l.txt").write_text("0.mp4 9 0\n1.mp4 9 20240101\n2.mp4 9 -3\n")
    assert problems_of(tmp_path, lists)[1:3] == [
        "l.txt:2: label 20240101 is beyond the 100000 classes that a list without a classes file "
        "may have",
        "l.txt:3: label -3 is negative",
    ]
    (tmp_path / "classes.txt").write_text("a\n\nb\na\n")
    problems = problems_of(tmp_path, lists, classes=tmp_path / "classes.txt")
    assert problems[1] == "classes.txt:4: class 'a' is named already in line 1"
    (tmp_path / "classes.txt").write_text("a\n")
    with pytest.raises(VideoListError, match=r"classes\.txt names 1 class; recognition needs at"):
        read_lists(tmp_path, lists, classes=tmp_path / "classes.txt")


def test_labels_that_count_from_1_are_noticed_and_read(tmp_path: Path) -> None:
    for i in range(3):
        touch(tmp_path / f"{i}.mp4")
    lists, classes = {"val": tmp_path / "l.txt"}, tmp_path / "classes.txt"
    lists["val"].write_text("0.mp4 1\n1.mp4 2\n2.mp4 3\n")
    listed = read_lists(tmp_path, lists)
    assert listed.videos["label"].tolist() == [1, 2, 3], "as they are written, but with a note"
    assert listed.classes == ["0", "1", "2", "3"]
    (note,) = listed.notes
    assert note.startswith("no video has label 0, so the labels seem to count from 1: then name")
    classes.write_text("run\nhop\nwalk")
    assert problems_of(tmp_path, lists, classes=classes)[1:3] == [
        "l.txt:3: label 3 is beyond the 3 classes of the classes file",
        note,
    ]
    classes.write_text("1 run\n2 hop\n3 walk")
    listed = read_lists(tmp_path, lists, classes=classes)
    assert [listed.classes[label] for label in listed.videos["label"]] == ["run", "hop", "walk"]
    assert "labels are taken to count from 1 too" in listed.notes[0]


def test_segments(tmp_path: Path) -> None:
    touch(tmp_path / "a.mp4")
    make_images(tmp_path / "frames", "%05d.jpg", 2)
    (tmp_path / "l.csv").write_text(
        "path,label,start_s,end_s\na.mp4,0,,2\na.mp4,1,2,4\na.mp4,1,0,2.0\nframes,1,1,\n"
    )
    assert problems_of(tmp_path, {"val": tmp_path / "l.csv"}, "csv")[1:3] == [
        "l.csv:4: a.mp4 is listed already at l.csv:2",
        f"l.csv:5: start_s and end_s are for video files; {tmp_path / 'frames'} is a folder",
    ]


def test_all_problems_are_shown_at_once_with_line_numbers(tmp_path: Path) -> None:
    for i in range(4):
        touch(tmp_path / f"{i}.mp4")
    lines = ["0.mp4 9 0", "gone.mp4 9 0", "1.mp4 9", "2.mp4 9 x", "0.mp4 9 0", "3.mp4 9 7"]
    make_lists(tmp_path, lines, [])
    (tmp_path / "classes.txt").write_text("a\nb\nc c\n")
    with pytest.raises(VideoListError) as caught:
        read_videos(tmp_path)
    suffixes = ".mp4, .avi, .mov, .mkv, .webm or the like"
    assert [line.strip() for line in str(caught.value).splitlines()] == [
        "6 problem(s) in the list of videos:",
        f"train.txt:2: no such video: {tmp_path / 'gone.mp4'} or {tmp_path / 'videos/gone.mp4'}, "
        f"nor with {suffixes}",
        "train.txt:3: expected 'path num_frames label'; got '1.mp4 9'",
        "train.txt:4: expected 'path num_frames label'; got '2.mp4 9 x'",
        "train.txt:5: 0.mp4 is listed already at train.txt:1",
        "train.txt:6: label 7 is beyond the 3 classes of the classes file",
        "val.txt: no videos: it becomes the test split, and needs some",
        "Correct them, and run again. --skip-missing goes on without the missing videos only.",
    ]


def test_at_most_fifty_problems_are_shown(tmp_path: Path) -> None:
    (tmp_path / "l.txt").write_text("".join(f"{i}.mp4 9 {i}\n" for i in range(60)))
    problems = problems_of(tmp_path, {"train": tmp_path / "l.txt"})
    assert problems[0] == "60 problem(s) in the list of videos:"
    assert problems[50].startswith("l.txt:50: no such video")
    assert problems[51:] == [
        "and 10 more",
        "Put the missing videos there, or go on without them: --skip-missing.",
    ]


def test_duplicates(tmp_path: Path) -> None:
    touch(tmp_path / "a" / "0.mp4")
    touch(tmp_path / "1.mp4")
    (tmp_path / "link.mp4").symlink_to(tmp_path / "1.mp4")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    train = ["a/0.mp4 9 0", "1.mp4 9 1", "a/0 9 0", "gone 9 0", "gone 9 0"]
    test = ["link.mp4 9 0", "b/0.mp4 9 1", f"{tmp_path}/a/0.mp4 9 1", "./a/../1.mp4 9 1"]
    (tmp_path / "l.txt").write_text("\n".join(train))
    (tmp_path / "m.txt").write_text("\n".join(test))
    lists = {"train": tmp_path / "l.txt", "test": tmp_path / "m.txt"}
    problems = problems_of(tmp_path, lists, skip_missing=True)
    assert problems[1:-1] == [
        "l.txt:3: a/0 is listed already at l.txt:1",
        "l.txt:5: gone is listed already at l.txt:4",
        "m.txt:1: link.mp4 is listed already at l.txt:2",
        "m.txt:2: b/0.mp4 is listed already at l.txt:1",
        f"m.txt:3: {tmp_path}/a/0.mp4 is listed already at l.txt:1",
        "m.txt:4: ./a/../1.mp4 is listed already at l.txt:2",
    ]
    (tmp_path / "m.txt").write_text("1.mp4 9 1\n")
    problems = problems_of(tmp_path, {"val": tmp_path / "m.txt", "test": tmp_path / "m.txt"})
    assert problems[1] == "m.txt:1: 1.mp4 is listed already at m.txt:1", "the same list twice"


def test_missing_videos(tmp_path: Path) -> None:
    touch(tmp_path / "0.mp4")
    touch(tmp_path / "1.mp4")
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "broken.mp4").symlink_to(tmp_path / "nowhere.mp4")
    (tmp_path / "nothing").mkdir()
    make_images(tmp_path / "some", "image_%05d.jpg", 51)
    make_images(tmp_path / "zero", "image_%05d.jpg", 1)
    names = ["0.mp4", "empty.mp4", "broken.mp4", "nothing", "some", "nul\0/x", "1.mp4"]
    lines = [f"{name} 90 {i % 2}" for i, name in enumerate(names)] + ["zero 0 1"]
    (tmp_path / "l.txt").write_text("\n".join(lines))
    lists = {"val": tmp_path / "l.txt"}
    root, suffixes = tmp_path, "nor with .mp4, .avi, .mov, .mkv, .webm or the like"
    expected = [
        "",
        f"{root}/empty.mp4 is empty",
        f"no such video: {root}/broken.mp4 or {root}/videos/broken.mp4, {suffixes}",
        f"{root}/nothing holds no image_00001.jpg or 00001.jpg or 000001.jpg",
        f"{root}/some: the list says 90 frames, but image_00090.jpg is not there (51 are)",
        f"no such video: {root}/nul\0/x or {root}/videos/nul\0/x, {suffixes}",
        "",
        f"{root}/zero: the list says 0 frames",
    ]
    listed = read_lists(tmp_path, lists, skip_missing=True)
    assert listed.videos["missing"].tolist() == expected
    assert listed.videos["path"].tolist() == [f"{root}/{line.split(' ')[0]}" for line in lines]
    problems = problems_of(tmp_path, lists)
    shown = [text.replace("\0", r"\x00") for text in expected]  # as a terminal can show it
    assert problems[1:-1] == [f"l.txt:{i}: {text}" for i, text in enumerate(shown, 1) if text]
    assert problems[-1] == "Put the missing videos there, or go on without them: --skip-missing."


def test_counted_images(tmp_path: Path) -> None:
    make_images(tmp_path / "a", "%05d.jpg", 3)
    touch(tmp_path / "a" / "00000.jpg")
    touch(tmp_path / "a" / "000004.jpg")
    make_images(tmp_path / "b", "%05d.jpg", 9)
    (tmp_path / "b" / "00005.jpg").unlink()
    (tmp_path / "l.csv").write_text("path,label\na,0\nb,1\n")
    lists = {"val": tmp_path / "l.csv"}
    videos = read_lists(tmp_path, lists, "csv", skip_missing=True).videos
    assert videos["n_images"].tolist() == [3, 9]
    reason = f"{tmp_path}/b: 00005.jpg is not there, but 00009.jpg is"
    assert videos["missing"].tolist() == ["", reason]
    assert problems_of(tmp_path, lists, "csv")[1] == f"l.csv:3: {reason}"


def test_missing_videos_do_not_move_the_others(tmp_path: Path) -> None:
    for i in range(20):
        touch(tmp_path / f"{i}.mp4")
    (tmp_path / "l.txt").write_text("".join(f"{i} 9 {i % 2}\n" for i in range(20)))
    lists = {"train": tmp_path / "l.txt"}
    before = read_lists(tmp_path, lists).videos
    assert before[before["split"] == "val"]["name"].tolist() == ["16", "17", "18", "19"]
    for i in (3, 5, 18):
        (tmp_path / f"{i}.mp4").unlink()
    after = read_lists(tmp_path, lists, skip_missing=True).videos
    assert (before["split"] == after["split"]).all()
    assert after[after["missing"] != ""]["name"].tolist() == ["3", "5", "18"]
    for i in (16, 17, 19):
        (tmp_path / f"{i}.mp4").unlink()
    problems = problems_of(tmp_path, lists, skip_missing=True)
    assert problems[1].startswith("all 4 videos of the val split are missing; 16: no such video: ")


def test_lists_that_cannot_be_used(tmp_path: Path) -> None:
    for i in range(8):
        touch(tmp_path / f"{i}.mp4")
    train = [f"{i}.mp4 9 {i % 2}" for i in range(6)]
    make_lists(tmp_path, train, [])
    with pytest.raises(VideoListError, match=r"val\.txt: no videos: it becomes the test split"):
        read_videos(tmp_path)
    lists = {"test": tmp_path / "test.txt"}
    lists["test"].write_text("\n\n")
    with pytest.raises(VideoListError, match=r"  test\.txt: no videos: it is the test split, and"):
        read_lists(tmp_path, lists)
    (tmp_path / "val.txt").write_bytes("é.mp4 9 0".encode("latin-1"))
    with pytest.raises(VideoListError, match="is not UTF-8 text .*: save it as UTF-8"):
        read_videos(tmp_path)
    lists["test"].unlink()
    with pytest.raises(VideoListError, match=r"cannot read the list .*/test\.txt: No such file"):
        read_lists(tmp_path, lists)
    with pytest.raises(ValueError, match="one of activitynet, kinetics, something, csv; got 'ucf'"):
        read_lists(tmp_path, lists, "ucf")
    with pytest.raises(VideoListError, match="files for some of train, val, test; got none"):
        read_lists(tmp_path, {})
    with pytest.raises(VideoListError, match="files for some of train, val, test; got dev"):
        read_lists(tmp_path, {"dev": tmp_path / "val.txt"})
    make_lists(tmp_path, ["0.mp4 9 0", "1.mp4 9 0"], ["2.mp4 9 0"])
    with pytest.raises(VideoListError, match="has 1 class; recognition needs at least 2"):
        read_videos(tmp_path)
    make_lists(tmp_path, ["0.mp4 9 0", "1.mp4 9 0", "2.mp4 9 1"], ["3.mp4 9 0"])
    with pytest.raises(VideoListError, match="class 1 has 1 videos to divide into train and val:"):
        read_videos(tmp_path)


def test_the_real_lists(real_data: Path) -> None:
    listed = read_videos(real_data / "gestures")
    videos = listed.videos
    assert len(listed.classes) == 10
    assert videos["split"].value_counts()["test"] == 37
    assert len(videos) == 157
    assert (videos["missing"] == "").all()
    serial = videos["path"].str.extract(r"_(\d+)\.mp4")[0]
    recordings = [set(serial[videos["split"] == name]) for name in ("train", "val", "test")]
    assert sum(map(len, recordings)) == len(set.union(*recordings)), "no recording in two splits"
