"""Codecs × containers × structures: what is read are the pictures of a plain decode."""

from __future__ import annotations

import itertools
import sys
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from video_files import (
    CODECS,
    CONTAINERS,
    STRUCTURES,
    NotWritable,
    compare,
    mean_difference,
    shown_of,
    write_video,
)

from focusgym.feature_cache import Clip
from focusgym.feature_cache.videos import index
from focusgym.feature_cache.videos.second import read_through_decord

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
FEW_FRAMES = 48  # four groups of pictures: of usual kinds in all structures
DECODED_TWICE = [("h264", "mp4"), ("h264", "mkv"), ("h264", "avi"), ("hevc", "mp4")]
NOT_SIMPLE = ("open_gop", "intra_refresh", "torn", "rotated", "mirrored")
SOUGHT = [("h264", "mp4"), ("h264", "mkv"), ("vp9", "webm"), ("av1", "mp4")]


def check(folder: Path, codec: str, container: str, structure: str) -> str | None:
    """Return how a file of this kind is read; None where PyAV cannot write it."""
    path = folder / f"{codec}_{structure}.{CONTAINERS[container].suffix}"
    try:
        write_video(path, codec, container, structure)
    except NotWritable:
        return None
    return compare(path)


def decord_reads_alike(path: Path) -> bool:
    """Return whether decord reads a file; if so, it has the pictures of a plain decode."""
    shown = shown_of(path, path.stat().st_mtime_ns)
    assert shown is not None
    places = np.random.default_rng(0).integers(0, len(shown.pictures), 20)
    pictures = read_through_decord(Clip(str(path)), places)
    if pictures is None:
        return False
    assert mean_difference(pictures, shown.pictures[places]).max() < 0.5, path.name
    return True


@pytest.mark.parametrize("seed", range(2))
def test_kinds_that_are_drawn(seed: int, tmp_path: Path) -> None:
    drawn = np.random.default_rng(seed).permutation(len(KINDS))
    ways = []
    for number in drawn:
        if way := check(tmp_path, *KINDS[number]):
            ways.append(way)
        if len(ways) == 15:
            break
    assert "pyav in order" in ways


@pytest.mark.parametrize(("codec", "container"), USUAL)
def test_usual_kinds_in_all_structures(
    codec: str, container: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once as the short videos that they are, once as if they were long ones; and with decord."""
    for structure in STRUCTURES:
        path = tmp_path / f"{structure}.{CONTAINERS[container].suffix}"
        try:
            write_video(path, codec, container, structure, n=FEW_FRAMES)
        except NotWritable:
            continue
        if (codec, container) in DECODED_TWICE:
            reads = decord_reads_alike(path)
            assert not reads or (codec == "h264" and structure not in NOT_SIMPLE)
            if (container, structure) == ("mp4", "closed_gop") and codec == "h264":
                assert reads or find_spec("decord") is None
        # In order all frames are decoded, whichever are asked for.
        for longest, quick, numbers in (
            (5000, "pyav in order", (16, None)),
            (10, "pyav", (1, 4, 16, None)),
        ):
            monkeypatch.setattr(index, "SHORT_FRAMES", longest)
            way = compare(path, numbers)
            assert structure == "torn" or way in ("pyav", "pyav in order")
            if structure in ("closed_gop", "variable_rate", "rotated"):
                assert way == quick or (codec, container) not in SOUGHT


def test_decord_is_not_asked_for_ten_bits(tmp_path: Path) -> None:
    for structure in STRUCTURES:
        path = tmp_path / f"{structure}.mp4"
        with suppress(NotWritable):
            write_video(path, "h264_10bit", "mp4", structure, n=FEW_FRAMES)
            assert not decord_reads_alike(path)


def test_decord_is_not_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "decord", None)  # as where it has no wheels
    for codec, container in (("h264", "mp4"), ("hevc", "mkv"), ("vp9", "webm")):
        assert check(tmp_path, codec, container, "closed_gop") == "pyav in order"
    path = write_video(tmp_path / "a.mp4")
    assert read_through_decord(Clip(str(path)), np.arange(3)) is None
