"""The formats of lists: lines to rows, and what is said of lines that cannot be read."""

from __future__ import annotations

import csv
import io
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from focusgym.feature_cache import read_lists
from focusgym.feature_cache.videos.list_formats import ListRow, parse_list, read_labels


def test_lines_that_cannot_be_read() -> None:
    text = "a 1\n\nb -1 0\nc 1 x\nd 1 0\x0b\n/e f 1 ²"
    rows, problems = parse_list(text, "kinetics")
    assert rows == [ListRow(5, "d", "0", 1)]
    expected = "expected 'path num_frames label'; got "
    assert problems == [
        (1, f"{expected}'a 1'"),
        (3, f"{expected}'b -1 0'"),
        (4, f"{expected}'c 1 x'"),
        (6, f"{expected}'/e f 1 ²'"),
    ]
    assert parse_list(text, "something") == (rows, problems)

    lines = ["a,1", "a,1,2,3,4,5", "", "a,,1", ",1,1", "a,-1,1", "a,1,x", "a,1,-1,-1", "a,1,-1,3"]
    rows, problems = parse_list("\n".join(lines), "activitynet")
    assert rows == [ListRow(9, "a", "-1;3", 1)], "a -1 before a label is no padding"
    expected = "expected 'name,num_frames,label[,label2,label3]'"
    assert problems == [
        *((n, f"{expected}; got {lines[n - 1]!r}") for n in (1, 2, 4, 5, 6, 7)),
        (8, f"{expected} with a label that is not -1; got 'a,1,-1,-1'"),
    ]


def test_csv_lines_that_cannot_be_read() -> None:
    text = (
        "path,label,start_s,end_s\n"
        "a,0,1,2,3\n"  # too many fields in the first row: pandas would take it for an index
        "\n"
        '"two\nlines",1,,\n'
        "b,0\n"
        '"c"d,0,,\n'
        ",0,,\n"
        "e, ,,\n"
        "f,0,x,\n"
        "g,0,-1,\n"
        "h,0,2,2\n"
        "i,0,,0\n"
        "j,0,nan,\n"
        "k,0,,inf\n"
        "l,0,,1\n"
        '"m,0,,\nn,0,,\n'
    )
    rows, problems = parse_list(text, "csv")
    assert rows == [ListRow(4, "two\nlines", "1"), ListRow(16, "l", "0", None, None, 1.0)]
    assert problems == [
        (2, "5 fields, but the header has 4; got ['a', '0', '1', '2', '3']"),
        (6, "2 fields, but the header has 4; got ['b', '0']"),
        (7, "cannot be read as CSV: ',' expected after '\"'"),
        (8, "no path"),
        (9, "no label"),
        (10, "start_s must be a number of seconds; got 'x'"),
        (11, "start_s must be at least 0; got -1"),
        (12, "end_s must be after start_s; got 2 to 2"),
        (13, "end_s must be after start_s; got 0 to 0"),
        (14, "start_s must be finite; got 'nan'"),
        (15, "end_s must be finite; got 'inf'"),
        (17, "cannot be read as CSV: unexpected end of data"),
    ]


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        ("path", "no column label in the header; expected path,label[,start_s,end_s]"),
        ("a.mp4,0", "no column path and label in the header; expected path"),
        ("path,label,fps,x y", "unknown column(s) 'fps', 'x y'; expected path"),
        ("path,label,path", "column path more than once; expected path"),
    ],
)
def test_headers_that_cannot_be_used(header: str, problem: str) -> None:
    rows, problems = parse_list(f"\n{header}\na,0\n", "csv")
    assert rows == []
    assert problems[0][0] == 2
    assert problems[0][1].startswith(problem)


@pytest.mark.parametrize(
    ("text", "format", "row"),
    [
        ("a b/c.mp4 90 3\nd.mp4 5 0", "kinetics", ListRow(1, "a b/c.mp4", "3", 90)),
        ("a b/c.mp4 3\nd.mp4\t0", "kinetics", ListRow(1, "a b/c.mp4", "3")),  # MMAction2
        ("/data/x,1/c.mp4 3", "kinetics", ListRow(1, "/data/x,1/c.mp4", "3")),  # SlowFast's .csv
        ("\nd.mp4", "kinetics", None),
        ("v_1,90,3,-1\nv 2,5,0", "activitynet", ListRow(1, "v_1", "3", 90)),
        ("v_1, 90, 3", "activitynet", ListRow(1, "v_1", "3", 90)),
        ("path,label\na b 1 2,3", "csv", ListRow(2, "a b 1 2", "3")),
        ('"label", "path"\n"walk","a.mp4"', "csv", ListRow(2, "a.mp4", "walk")),
        ("video,label\na.mp4,walk", "csv", None),
    ],
)
def test_lists_are_told_by_their_look(text: str, format: str, row: ListRow | None) -> None:
    rows, problems = parse_list(text, None)
    assert (rows, problems) == parse_list(text, format)
    assert rows[:1] == ([] if row is None else [row])
    assert bool(problems) == (row is None)


def test_a_list_of_another_format_than_said_is_noticed() -> None:
    rows, problems = parse_list("path,label\na.mp4,0", "activitynet")
    assert rows == []
    assert problems[0] == (
        0,
        "this looks like a list of the format csv: --format csv reads it, --format activitynet "
        "was asked for",
    )
    assert parse_list("a.mp4\nb.mp4", "kinetics")[1][0] == (
        1,
        "expected 'path label', or in all lines 'path num_frames label'; got 'a.mp4'",
    )


NAMES = st.from_regex(r"[^\s/\x00](?:[^/\n\r\x00]*[^\s/\x00])?", fullmatch=True).filter(
    lambda name: name not in (".", "..") and len(name.encode(errors="replace")) < 200
)
LABELS = st.lists(st.integers(0, 999), min_size=1, max_size=3, unique=True)
LISTED = st.lists(st.tuples(NAMES, st.integers(0, 10**6), LABELS), min_size=1, max_size=6)


@given(LISTED, st.lists(st.integers(0, 2), min_size=6, max_size=6))
def test_round_trip_of_lines(listed: list[tuple[str, int, list[int]]], blank: list[int]) -> None:
    kinetics, activitynet, expected = [], [], []
    for (name, n_frames, labels), n_blank in zip(listed, blank, strict=False):
        kinetics += [""] * n_blank + [f"{name} {n_frames} {labels[0]}"]
        padded = labels + [-1] * (3 - len(labels))
        activitynet += [""] * n_blank + [",".join(map(str, [name, n_frames, *padded]))]
        expected.append((len(kinetics), name, labels, n_frames))
    for format in ("kinetics", "something"):
        rows, problems = parse_list("\n".join(kinetics), format)
        assert rows == [ListRow(n, name, str(labels[0]), k) for n, name, labels, k in expected]
        assert problems == []
    rows, problems = parse_list("\n".join(activitynet), "activitynet")
    plain = [row for row in expected if "," not in row[1]]
    assert rows == [ListRow(n, name, ";".join(map(str, ls)), k) for n, name, ls, k in plain]
    commas = [row for row in expected if "," in row[1]]
    assert [line for line, _ in problems] == [n for n, *_ in commas], "never a part of a name"


SECONDS = st.floats(0, 1e6)
CSV_NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), min_size=1).filter(
    lambda name: name.strip() != ""
)


@given(st.lists(st.tuples(CSV_NAMES, LABELS, SECONDS, SECONDS), min_size=1, max_size=6))
def test_round_trip_of_csv(listed: list[tuple[str, list[int], float, float]]) -> None:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerow(["path", "label", "start_s", "end_s"])
    expected = []
    for name, labels, start_s, length_s in listed:
        line = stream.getvalue().count("\n") + 1
        end_s = start_s + length_s + 1.0
        written = ";".join(map(str, labels))
        writer.writerow([name, written, start_s, end_s])
        expected.append(ListRow(line, name, written, None, start_s, end_s))
    assert parse_list(stream.getvalue(), "csv") == (expected, [])


@given(st.lists(LABELS, min_size=1), st.booleans())
def test_labels_by_number_and_by_name(several: list[list[int]], with_file: bool) -> None:
    classes = [f"class {label:03d}" for label in range(1000)]
    by_number = {";".join(map(str, labels)): tuple(labels) for labels in several}
    labels, problems, names = read_labels(by_number, classes if with_file else None)
    assert (labels, problems) == (by_number, {})
    largest = max(map(max, several))
    assert names == (classes if with_file else [str(label) for label in range(largest + 1)])
    by_name = {";".join(classes[n] for n in one): tuple(one) for one in by_number.values()}
    labels, problems, names = read_labels(by_name, classes if with_file else None)
    assert problems == {}
    named = {text: tuple(names[n] for n in one) for text, one in labels.items()}
    assert named == {text: tuple(classes[n] for n in one) for text, one in by_name.items()}


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(NAMES, LABELS), min_size=2, max_size=6, unique_by=lambda row: row[0]))
def test_files_are_found_by_the_names_of_any_format(listed: list[tuple[str, list[int]]]) -> None:
    listed = [(name.replace(",", "_"), labels) for name, labels in listed]
    listed = list(dict(listed).items())
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        (root / "videos" / "in").mkdir(parents=True)
        for name, _ in listed:
            (root / "videos" / "in" / name).write_bytes(b"x")
        lists = {
            "kinetics": [f"in/{name} 1 {labels[0]}" for name, labels in listed],
            "activitynet": [f"in/{name},1,{labels[0]}" for name, labels in listed],
            "csv": ["path,label"]
            + [f'"in/{name.replace(chr(34), chr(34) * 2)}",{ls[0]}' for name, ls in listed],
        }
        (root / "classes.txt").write_text("\n".join(f"c{label}" for label in range(1000)))
        for format, lines in lists.items():
            (root / "l.txt").write_text("\n".join(lines), encoding="utf-8")
            videos = read_lists(root, {"val": root / "l.txt"}, format, root / "classes.txt").videos
            assert videos["path"].tolist() == [str(root / "videos/in" / name) for name, _ in listed]
            assert videos["label"].tolist() == [labels[0] for _, labels in listed]
