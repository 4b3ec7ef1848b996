"""Codecs × containers × structures: what is read are the pictures of a plain decode."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import numpy as np
import pytest
from video_files import CODECS, CONTAINERS, STRUCTURES, NotWritable, compare, write_video

KINDS = list(itertools.product(CODECS, CONTAINERS, STRUCTURES))
USUAL = [
    ("h264", "mp4"),
    ("h264", "mkv"),
    ("h264", "avi"),
    ("h264", "ts"),
    ("hevc", "mp4"),
    ("hevc", "mkv"),
    ("mpeg4", "avi"),
    ("mpeg2", "mpg"),
    ("vp9", "webm"),
    ("av1", "mp4"),
]


def check(folder: Path, codec: str, container: str, structure: str) -> str | None:
    """Return how a file of this kind is read; None where PyAV cannot write it."""
    path = folder / f"{codec}_{structure}.{CONTAINERS[container].suffix}"
    try:
        write_video(path, codec, container, structure)
    except NotWritable:
        return None
    return compare(path)


@pytest.mark.parametrize("seed", range(4))
def test_kinds_that_are_drawn(seed: int, tmp_path: Path) -> None:
    drawn = np.random.default_rng(seed).permutation(len(KINDS))
    ways = []
    for number in drawn:
        if way := check(tmp_path, *KINDS[number]):
            ways.append(way)
        if len(ways) == 15:
            break
    assert {"pyav in order", "refused"} & set(ways)


@pytest.mark.parametrize(("codec", "container"), USUAL)
def test_usual_kinds_in_all_structures(codec: str, container: str, tmp_path: Path) -> None:
    ways = {structure: check(tmp_path, codec, container, structure) for structure in STRUCTURES}
    assert "refused" not in {way for structure, way in ways.items() if structure != "torn"}
    if container in ("mp4", "mkv"):
        # Each way is taken where it is the quickest that is sure.
        expected = "pyav" if codec == "av1" else "decord"
        assert {ways["closed_gop"], ways["variable_rate"], ways["jitter"]} == {expected}
        if codec != "av1":
            assert {ways["open_gop"], ways["torn"]} == {"pyav", "pyav in order"}


def test_without_decord_the_same_frames_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "decord", None)  # as where it has no wheels
    for codec, container in (("h264", "mp4"), ("hevc", "mkv"), ("vp9", "webm")):
        assert check(tmp_path, codec, container, "closed_gop") == "pyav"
