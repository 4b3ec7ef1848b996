"""The journal of a build: which rows are on disk, so that a killed build goes on where it was."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...recognizer.files.whole import write_whole

NAME = "journal.jsonl"


@dataclass(frozen=True)
class RowFacts:
    """What is noted of a row that is on disk.

    Attributes:
        checksum: Of its features.
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
    short is dropped on reading.

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
        self._file = (folder / NAME).open("a", encoding="utf-8")

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
        good, whole = 0, []
        with path.open("rb+") as file:
            for line in file:
                content = _parse(line)
                if content is None:
                    break
                whole.append(content)
                good += len(line)
            file.truncate(good)
        if not whole:
            return None
        rows = {int(content.pop("row")): RowFacts(**content) for content in whole[1:]}
        return cls(folder, whole[0], rows)

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


def _parse(line: bytes) -> dict[str, Any] | None:
    """Return what a line says; None if it was cut short."""
    try:
        content = json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None
    return content if isinstance(content, dict) else None
