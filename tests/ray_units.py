"""Units of work for tests on a cluster: small, and each leaves a note of when it was done."""

from __future__ import annotations

import os
import time
from pathlib import Path


def note(notes: Path, name: str) -> None:
    """Leave a note that a unit was done; several if it was done several times."""
    with (notes / name).open("a") as file:
        file.write(f"{os.getpid()}\n")


def write(out: Path, content: str, read: Path | None = None) -> str:
    """Leave a folder with a file, and what stands in another folder's."""
    out.mkdir(parents=True)
    before = "" if read is None else (read / "content").read_text()
    (out / "content").write_text(before + content)
    return os.getcwd()


def wait(notes: Path, name: str, go: Path) -> str:
    """Say that the unit has begun, and wait until a file is there."""
    note(notes, f"{name}.begun")
    while not go.exists():
        time.sleep(0.05)
    note(notes, f"{name}.done")
    return name


def fail(message: str) -> None:
    """Print something, and fail."""
    print("working on it")
    os.system("echo a library says something")
    raise RuntimeError(message)
