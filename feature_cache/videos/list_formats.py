"""The formats of lists of videos: from their text to rows, or to what is wrong with a line."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Collection, Iterator, Sequence
from typing import Literal, NamedTuple, get_args

ListFormat = Literal["activitynet", "kinetics", "something", "csv"]
FORMATS: tuple[ListFormat, ...] = get_args(ListFormat)
CSV_COLUMNS = ("path", "label", "start_s", "end_s", "split")
SPLITS = ("train", "val", "test")
# Without a file that names the classes, a label beyond this is no label but a misplaced number.
MOST_CLASSES = 100_000

_INTEGER = re.compile(r"-?[0-9]{1,18}")
_COUNT = re.compile(r"[0-9]{1,18}")
_TWO_NUMBERS = re.compile(r".*\S\s+-?[0-9]+\s+-?[0-9]+")
_NO_COUNT = re.compile(r"(.*\S)\s+(-?[0-9]{1,18})")

Problem = tuple[int, str]  # line, from 1 (0: the whole file), and what is wrong there


class ListRow(NamedTuple):
    """One line of a list, as it is written.

    Attributes:
        line: Its number, from 1.
        name: Of the video file, or of the folder of images.
        labels: As written, joined by ``;``.
        n_frames: How many images the list says there are; None where its format does not say.
        start_s: Where the segment starts; None where it is not given.
        end_s: Where it ends; None where it is not given.
        split: Which it is in; None where the list as a whole is one.
    """

    line: int
    name: str
    labels: str
    n_frames: int | None = None
    start_s: float | None = None
    end_s: float | None = None
    split: str | None = None


def format_of(text: str) -> str:
    """Return the format of a list by its look; what is none of them is taken for the likeliest.

    ``csv`` has a header with the columns ``path`` and ``label``. Else, ``kinetics`` has lines that
    end in two numbers apart; ``activitynet`` lines of a name and numbers between commas; and lines
    that end in one number are ``kinetics`` without the count. What remains is ``csv`` without a
    header that can be used, if there are commas.
    """
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    first = lines[0] if lines else ""
    if {*CSV_COLUMNS[:2]} <= {field.strip().strip('"') for field in first.split(",")}:
        return "csv"
    if any(_TWO_NUMBERS.fullmatch(line) for line in lines):
        return "kinetics"
    if any(isinstance(_activitynet(0, line), ListRow) for line in lines):
        return "activitynet"
    if any(_NO_COUNT.fullmatch(line) for line in lines):
        return "kinetics"
    return "csv" if "," in first else "kinetics"


def parse_list(text: str, format: str | None) -> tuple[list[ListRow], list[Problem]]:
    r"""Read the text of a list.

    Args:
        text: Lines end in ``\n``. Blank ones are passed over, and counted.
        format: One of ``FORMATS``, which ``read_lists`` describes; None goes by its look.

    Returns:
        The rows that can be read, and the problems of the lines that cannot.

    Source: the lists of the released AdaFocus code (the first three formats); lists without the
        count are those of MMAction2, SlowFast and VideoMAE.
    """
    look = format_of(text)
    rows, problems = _parse_as(text, format or look)
    meant = {"kinetics", "something"} if look == "kinetics" else {look}
    if problems and not rows and format not in (None, *meant) and _parse_as(text, look)[0]:
        hint = f"this looks like a list of the format {look}: --format {look} reads it"
        problems = [(0, f"{hint}, --format {format} was asked for"), *problems]
    return rows, problems


def _parse_as(text: str, format: str) -> tuple[list[ListRow], list[Problem]]:
    if format == "csv":
        return _parse_csv(text)
    if format == "activitynet":
        parse = _activitynet
    elif any(_TWO_NUMBERS.fullmatch(line.strip()) for line in text.split("\n")):
        parse = _kinetics
    else:
        parse = _kinetics_without_count
    rows: list[ListRow] = []
    problems: list[Problem] = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            row = parse(number, line.strip())
            if isinstance(row, str):
                problems.append((number, f"{row}; got {line!r}"))
            else:
                rows.append(row)
    return rows, problems


def _activitynet(number: int, line: str) -> ListRow | str:
    expected = "expected 'name,num_frames,label[,label2,label3]'"
    name, *numbers = (field.strip() for field in line.split(","))
    if not (name and 2 <= len(numbers) <= 4 and _are_numbers(*numbers)):
        return expected
    count, *labels = numbers
    while labels and labels[-1] == "-1":
        labels.pop()
    if not labels:
        return f"{expected} with a label that is not -1"
    return ListRow(number, name, ";".join(labels), int(count))


def _kinetics(number: int, line: str) -> ListRow | str:
    fields = line.rsplit(maxsplit=2)
    if len(fields) != 3 or not _are_numbers(*fields[1:]):
        return "expected 'path num_frames label'"
    return ListRow(number, fields[0], fields[2], int(fields[1]))


def _kinetics_without_count(number: int, line: str) -> ListRow | str:
    match = _NO_COUNT.fullmatch(line)
    if match is None:
        return "expected 'path label', or in all lines 'path num_frames label'"
    return ListRow(number, match[1], match[2])


def _are_numbers(count: str, *labels: str) -> bool:
    return bool(_COUNT.fullmatch(count)) and all(map(_INTEGER.fullmatch, labels))


def _parse_csv(text: str) -> tuple[list[ListRow], list[Problem]]:
    rows: list[ListRow] = []
    problems: list[Problem] = []
    header: list[str] | None = None
    for number, fields in _csv_records(text):
        if isinstance(fields, str):
            problems.append((number, f"cannot be read as CSV: {fields}"))
        elif header is None:
            header = [field.strip() for field in fields]
            problems += [(number, problem) for problem in _header_problems(header)]
            if problems:  # without its columns nothing below can be understood
                return [], problems
        elif len(fields) != len(header):
            problems.append(
                (number, f"{len(fields)} fields, but the header has {len(header)}; got {fields}")
            )
        else:
            row = _csv_row(number, dict(zip(header, fields, strict=True)))
            if isinstance(row, str):
                problems.append((number, row))
            else:
                rows.append(row)
    return rows, problems


def _csv_records(text: str) -> Iterator[tuple[int, list[str] | str]]:
    """Yield each record's first line and its fields, or why they cannot be read.

    The reader of the standard library, because pandas hides what has to be shown: it gives no line
    numbers, takes the first column of a row that is too long for an index, and with
    ``on_bad_lines`` drops a record with a wrong quote without a word.
    """
    reader = csv.reader(io.StringIO(text, newline=""), skipinitialspace=True, strict=True)
    while True:
        number = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield number, str(error)
            continue
        if len(fields) > 1 or any(map(str.strip, fields)):
            yield number, fields


def _header_problems(header: list[str]) -> list[str]:
    expected = "expected path,label[,start_s,end_s][,split]"
    problems = []
    if absent := [name for name in CSV_COLUMNS[:2] if name not in header]:
        problems.append(f"no column {' and '.join(absent)} in the header; {expected}")
    if unknown := [name for name in dict.fromkeys(header) if name not in CSV_COLUMNS]:
        problems.append(f"unknown column(s) {', '.join(map(repr, unknown))}; {expected}")
    if twice := [name for name in CSV_COLUMNS if header.count(name) > 1]:
        problems.append(f"column {' and '.join(twice)} more than once; {expected}")
    return problems


def _csv_row(number: int, cells: dict[str, str]) -> ListRow | str:
    for name in CSV_COLUMNS[:2]:
        if not cells[name].strip():
            return f"no {name}"
    times: dict[str, float | None] = {}
    for name in CSV_COLUMNS[2:4]:
        cell = cells.get(name, "").strip()
        try:
            times[name] = float(cell) if cell else None
        except ValueError:
            return f"{name} must be a number of seconds; got {cell!r}"
        if not math.isfinite(times[name] or 0):
            return f"{name} must be finite; got {cell!r}"
    start_s, end_s = times["start_s"], times["end_s"]
    if start_s is not None and start_s < 0:
        return f"start_s must be at least 0; got {start_s:g}"
    if end_s is not None and end_s <= (start_s or 0):
        return f"end_s must be after start_s; got {start_s or 0:g} to {end_s:g}"
    split = cells.get("split", "").strip()
    if "split" in cells and split not in SPLITS:
        return f"split must be one of {', '.join(SPLITS)}; got {split!r}"
    label = cells["label"].strip()
    return ListRow(number, cells["path"], label, None, start_s, end_s, split or None)


def read_labels(
    written: Collection[str], classes: Sequence[str] | None, first: int = 0
) -> tuple[dict[str, tuple[int, ...]], dict[str, str], list[str]]:
    """Turn labels as they are written into numbers of classes, which count from 0.

    An integer is the number of a class, whatever the classes are called; anything else the name of
    one. Where no file names the classes, they are ``0`` to the largest label, or, if no
    label is an integer, the sorted names.

    Args:
        written: The distinct labels of all lists, several of one video joined by ``;``.
        classes: Names of the C classes; None where no file names them.
        first: What the integers count from, 0 or 1.

    Returns:
        The labels, in their order, each once; the problems; both by what was written; and the
        names of the classes.
    """
    known = set(classes or ())
    parts = {
        text: [text] if text in known else [part.strip() for part in text.split(";")]
        for text in written
    }
    names = {part for several in parts.values() for part in several if part}
    by_name = classes is None and not any(map(_INTEGER.fullmatch, names))
    named = sorted(names) if by_name else list(classes or ())
    limit = MOST_CLASSES if classes is None and not by_name else len(named)
    index = {name: label for label, name in enumerate(named)}
    labels: dict[str, tuple[int, ...]] = {}
    problems: dict[str, str] = {}
    for text, several in parts.items():
        numbers = [_label(part, index, limit, first) for part in several]
        if wrong := [number for number in numbers if isinstance(number, str)]:
            problems[text] = "; ".join(wrong)
        else:
            labels[text] = tuple(dict.fromkeys(n for n in numbers if isinstance(n, int)))
    if classes is None and not by_name:
        largest = max((max(several) for several in labels.values()), default=-1)
        named = [str(label) for label in range(largest + 1)]
    return labels, problems, named


def from_1(written: Collection[str], classes: Sequence[str] | None) -> bool:
    """Return whether labels seem to count from 1: they are integers, and 1 is the smallest."""
    known = set(classes or ())
    parts = {part.strip() for text in written if text not in known for part in text.split(";")}
    numbers = [int(part) for part in parts if _INTEGER.fullmatch(part)]
    return bool(numbers) and len(numbers) == len(parts) and min(numbers) == 1


def _label(part: str, index: dict[str, int], limit: int, first: int) -> int | str:
    if not part:
        return "a label is empty"
    if not _INTEGER.fullmatch(part):
        nowhere = "is no name in the classes file" if index else "is no integer, as others are"
        return index.get(part, f"label {part!r} {nowhere}")
    if 0 <= int(part) - first < limit:
        return int(part) - first
    where = "of the classes file" if index else "that a list without a classes file may have"
    if int(part) < 0:
        return f"label {int(part)} is negative"
    if int(part) < first:
        return (
            f"label {int(part)} is before the first class, which the classes file numbers {first}"
        )
    return f"label {int(part)} is beyond the {limit} classes {where}"
