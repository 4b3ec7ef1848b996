"""Builds that kill themselves; run by test_resume.py in a process of its own."""

from __future__ import annotations

import json
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from kills import in_a_child, kill_now

from focusgym.feature_cache import CacheConfig, build_cache, video_table
from focusgym.feature_cache.building import writer
from focusgym.feature_cache.reading import journal
from focusgym.feature_cache.reading.journal import Journal
from focusgym.recognizer import Encoder, EncoderConfig, FrameConfig, PatchGrid, option_group

MOMENTS = ("in a row", "before its note", "in its note", "after its note")


def main(root: Path) -> None:
    """Kill a build at each moment; print when, and how many rows were noted then."""
    writer.SYNC_S = 0.0  # the builds are short: note every row
    table = pd.read_csv(root / "data" / "videos.csv")
    paths = [str(root / "data" / path) for path in table["path"]]
    videos = video_table(paths, table["label"].tolist(), table["split"].tolist())
    local = Encoder(EncoderConfig("small_local"))
    encoders = {"glance": Encoder(EncoderConfig("small_glance", 12)), "local": local}
    grids = (PatchGrid(64, 28), PatchGrid(64, 40, 3))
    groups = tuple(option_group(grid, "local", local) for grid in grids)
    config = CacheConfig(FrameConfig(3, 64), groups)

    def build(cache: Path, moment: str = "", after: int = 0) -> None:
        if moment:
            die(moment, after)
        build_cache(videos, [str(i) for i in range(10)], cache, encoders, config)

    assert in_a_child(partial(build, root / "whole")) == 0
    report = []
    for after, moment in enumerate(MOMENTS, 3):
        ended = in_a_child(partial(build, root / "killed", moment, after))
        assert ended == -signal.SIGKILL, f"{moment}: the build failed, or was not killed"
        report.append([moment, after, journalled(root / "killed.partial")])
    assert in_a_child(partial(build, root / "killed")) == 0
    assert contents(root / "killed") == contents(root / "whole"), "another content"
    print(json.dumps({"kills": report, "rows": len(videos)}))


def die(moment: str, after: int) -> None:
    """Let this process die at a moment of writing a row, once ``after`` others are noted."""
    write_all, add, noted = writer._write_all, Journal.add, []

    def write(descriptor: int, values: Any, offset: int) -> None:
        if moment == "in a row" and len(noted) == after:
            flat = values.reshape(-1)
            write_all(descriptor, flat[: flat.size // 2], offset)
            kill_now()
        write_all(descriptor, values, offset)

    def note(self: Journal, rows: Any) -> None:
        if len(noted) == after:
            if moment == "in its note":
                self._file.write('{"row": 1, "check')
                self._file.flush()
            elif moment == "after its note":
                add(self, rows)
            kill_now()
        add(self, rows)
        noted.append(None)

    writer._write_all, Journal.add = write, note  # type: ignore[method-assign]


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file of a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def journalled(partial: Path) -> int:
    """Return how many rows a build had noted."""
    path = partial / journal.NAME
    return path.read_bytes().count(b"\n") - 1 if path.exists() else 0


if __name__ == "__main__":
    main(Path(sys.argv[1]))
