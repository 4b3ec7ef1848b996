"""The journal of a build: which rows are on disk, so that a killed build goes on where it was."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...recognizer.files.atomic import write_whole
from ...recognizer.files.documents import parse_json
from ...recognizer.files.regular import check_regular, open_in_place
from ...recognizer.files.typed import typed

NAME = "journal.jsonl"


@dataclass(frozen=True)
class RowFacts:
    """What is noted of a row that is on disk.

    Attributes:
        checksum: Checksum of the features of the row.
        source: Digest of its video file, or of the images that were read.
        bytes: Size of that file or folder, to notice another one in its place.
        decoder: What read it, as `View.decoder` has it.
        low: Smallest value of its glance maps.
        high: Largest value of its glance maps.
    """

    checksum: str
    source: str
    bytes: int
    decoder: str
    low: float
    high: float


NOTHING = RowFacts("", "", 0, "", 0.0, 0.0)


class Journal:
    """A text file: a line that says what is being built, then a line per row.

    A line is added only after its row is on disk, so it is never wrong; a last line that was cut
    short, or is damaged, is dropped on reading with all behind it.

    Attributes:
        identity: What is being built.
        rows: What is on disk.
    """

    def __init__(
        self, folder: Path, identity: Mapping[str, Any], rows: dict[int, RowFacts]
    ) -> None:
        """Use `Journal.begin` or `Journal.read`."""
        self.identity = identity
        self.rows = rows
        self._file = open_in_place(folder / NAME, "a")

    @classmethod
    def begin(cls, folder: Path, identity: Mapping[str, Any]) -> Journal:
        """Begin a journal; it appears with its first line complete."""
        write_whole(folder / NAME, json.dumps(identity, sort_keys=True) + "\n")
        return cls(folder, identity, {})

    @classmethod
    def read(cls, folder: Path) -> Journal | None:
        """Read a journal to go on with it; None where there is none."""
        path = folder / NAME
        if not path.exists():
            return None
        check_regular(path)
        good, identity, rows = 0, None, {}
        with open_in_place(path, "rb+") as file:
            for line in file:
                content = _parse(line)
                if content is None:
                    break
                if identity is None:
                    identity = content
                elif (noted := _noted(content)) is None:
                    break
                else:
                    rows[noted[0]] = noted[1]
                good += len(line)
            file.truncate(good)
        return None if identity is None else cls(folder, identity, rows)

    def add(self, rows: Mapping[int, RowFacts]) -> None:
        """Note rows that are on disk."""
        for row, facts in rows.items():
            self._file.write(json.dumps({"row": row, **asdict(facts)}) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self.rows.update(rows)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _noted(content: dict[str, Any]) -> tuple[int, RowFacts] | None:
    """Return what a line notes of a row; None if it is damaged, and the row is encoded again."""
    row = content.pop("row", None)
    try:
        facts = typed(RowFacts, content)
    except ValueError:
        return None
    return (row, facts) if type(row) is int and row >= 0 else None


def _parse(line: bytes) -> dict[str, Any] | None:
    """Return what a line says; None if it was cut short."""
    try:
        content = parse_json(line) if line.endswith(b"\n") else None
    except ValueError:
        return None
    return content if isinstance(content, dict) else None
