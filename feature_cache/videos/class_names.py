"""Files that name the classes: a name a line, or its number beside it."""

from __future__ import annotations

import csv
import re
from typing import NamedTuple

# What the first line of such a file says where it is a header: alone, or beside another.
_NAME_WORDS = {"name", "names", "class", "classes", "class_name", "classname", "label", "labels"}
_NAME_WORDS |= {"category", "categories", "action", "actions", "class name", "display_name"}
_NUMBER_WORDS = {"id", "ids", "index", "idx", "number", "no", "label", "label_id", "class_id", ""}
_NUMBER_FIRST = re.compile(r"\"?([0-9]{1,9})\"?\s*[,;:.\t ]\s*(\S.*)")
_NAME_FIRST = re.compile(r"(.*\S)\s*[,;:\t]\s*\"?([0-9]{1,9})\"?")


class ClassNames(NamedTuple):
    """What a file of class names says.

    Attributes:
        names: Of the C classes, in the order of their numbers.
        problems: Lines, from 1 (0: the whole file), and what is wrong there.
        notes: How the file was understood where it is more than a name a line.
        first: Number of the first class, 0 or 1: what labels in lists count from.
    """

    names: list[str]
    problems: list[tuple[int, str]]
    notes: list[str]
    first: int = 0


def parse_class_names(text: str) -> ClassNames:
    r"""Read the text of a file of class names.

    A name a line; or number and name (or name and number) in each line, numbered from 0 or 1. A
    first line such as ``name`` or ``id,name`` is a header. Lines are numbered only where all are,
    and the numbers are those of classes: else such a line is a name ("3 point shot").

    Args:
        text: Lines end in ``\n``; blank ones are passed over.
    """
    lines = [(n, line.strip()) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
    notes = []
    columns = _header(lines[0][1]) if lines else 0
    if len(lines) > 2 and not columns and _is_header_of_numbered(lines):
        columns = 2  # a header in other words
    if columns:
        notes.append(f"line {lines[0][0]}, {lines[0][1]!r}, is taken for a header")
        lines = lines[1:]
    for pattern, number, name in ((_NUMBER_FIRST, 1, 2), (_NAME_FIRST, 2, 1)):
        matches = [pattern.fullmatch(line) for _, line in lines]
        pairs = [(int(each[number]), _unquoted(each[name])) for each in matches if each]
        numbers = sorted(n for n, _ in pairs)
        if not lines or len(pairs) < len(lines):
            continue
        if numbers in (list(range(len(lines))), list(range(1, len(lines) + 1))):
            first = numbers[0]
            from_1 = ", from 1: labels are taken to count from 1 too" if first else ""
            notes.append(f"each line is taken for the number of a class and its name{from_1}")
            names = [each for _, each in sorted(pairs)]
            repeated = _repeated([n for n, _ in lines], [p[1] for p in pairs])
            return ClassNames(names, repeated, notes, first)
    names = [line for _, line in lines]
    problems = _repeated([n for n, _ in lines], names)
    if columns > 1:
        expected = f"the header has {columns} columns: expected a number, all from 0 or from 1 on,"
        problems = [(0, f"{expected} and a name in each line below, each number once")]
    return ClassNames(names, problems, notes)


def _is_header_of_numbered(lines: list[tuple[int, str]]) -> bool:
    """Return whether all lines but the first are a number and a name, numbered from 0 or 1."""
    first, *others = [_NUMBER_FIRST.fullmatch(line) for _, line in lines]
    numbers = sorted(int(each[1]) for each in others if each)
    n = len(others)
    return first is None and numbers in (list(range(n)), list(range(1, n + 1)))


def _header(line: str) -> int:
    """Return how many columns a header has; 0 if the line is none."""
    fields = [field.strip().strip('"#').lower() for field in re.split(r"[,;\t]", line)]
    if len(fields) == 1:
        return int(fields[0] in _NAME_WORDS)
    known = all(field in _NAME_WORDS | _NUMBER_WORDS for field in fields)
    return len(fields) if known and any(field in _NAME_WORDS for field in fields) else 0


def _unquoted(name: str) -> str:
    """Return a name without the quotes of CSV."""
    return next(csv.reader([name]))[0].strip() if name.startswith('"') else name


def _repeated(lines: list[int], names: list[str]) -> list[tuple[int, str]]:
    first: dict[str, int] = {}
    return [
        (line, f"class {name!r} is named already in line {first[name]}")
        for line, name in zip(lines, names, strict=True)
        if first.setdefault(name, line) != line
    ]
