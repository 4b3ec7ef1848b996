"""How fast frames are read of video files, in each of the ways in which they can be read."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import av
import decord
import numpy as np
from numpy.typing import NDArray
from rows import row

from focusgym.feature_cache import sample_frames
from focusgym.feature_cache.videos.index import IN_ORDER, SEEK, read_index
from focusgym.feature_cache.videos.pictures import read_pictures
from focusgym.recognizer import FrameConfig

DATA = Path(os.environ.get("FOCUSGYM_DATA", "../shared/data"))
SHORT, STEPS, REPEATS = 24, 8, 7
LONG_FRAMES, LONG_STEPS, WIDTH, HEIGHT = 3000, 16, 342, 256


def rows(out: Path) -> dict[str, dict[str, float | str]]:
    """Measure on a long video that is made here, and on the real clips where they are."""
    long = [str(long_video(out / "long.mp4"))]
    how = f"a video of {LONG_FRAMES} frames of {WIDTH}×{HEIGHT} px, H.264, T = {LONG_STEPS}"
    table = measured("long", long, LONG_STEPS, how)
    clips = sorted(map(str, (DATA / "gestures").glob("videos/*/*.mp4")))
    if not clips:
        print(f"no real clips at {DATA}: set FOCUSGYM_DATA to measure decoding of real clips")
        return table
    some = clips[:: len(clips) // SHORT][:SHORT]
    how = f"{SHORT} real clips of 342×256 px, H.264, 1 to 9 s, T = {STEPS}"
    return {**table, **measured("clip", some, STEPS, how)}


def measured(
    name: str, paths: Sequence[str], steps: int, how: str
) -> dict[str, dict[str, float | str]]:
    """Return milliseconds per video, in turn, and ratios to decord's of the same turn."""
    ways: dict[str, Callable[[str, int], object]] = {
        "index": lambda path, steps: read_index(path),
        "decord": through_decord,
        "seek": lambda path, steps: read_by(path, steps, SEEK),
        "in_order": lambda path, steps: read_by(path, steps, IN_ORDER),
    }
    ms: dict[str, list[float]] = {way: [] for way in ways}
    for turn in range(REPEATS + 1):
        for way, read in ways.items():
            start = time.perf_counter()
            for path in paths:
                read(path, steps)
            if turn:  # the first warms up
                ms[way].append(1000 * (time.perf_counter() - start) / len(paths))
    described = {
        "index": "reading the index alone",
        "decord": "the frames alone, through decord",
        "seek": "index and frames, seeking to key frames",
        "in_order": "index and frames, decoding from the first frame to the last",
    }
    table = {
        f"decode_{name}_{way}_ms": row(values, "ms", f"{described[way]}, one thread; {how}")
        for way, values in ms.items()
    }
    for way in ("seek", "in_order"):
        ratios = [slow / fast for slow, fast in zip(ms[way], ms["decord"], strict=True)]
        table[f"decode_{name}_{way}_vs_decord"] = row(
            ratios, "", f"time, {described[way]}, over that through decord, in turn; {how}"
        )
    return table


def through_decord(path: str, steps: int) -> NDArray[np.uint8]:
    """Read frames as earlier versions did: decord alone, which seeks by its own index."""
    reader = decord.VideoReader(path, num_threads=1, fault_tol=0)
    pictures: NDArray[np.uint8] = reader.get_batch(
        sample_frames(len(reader), FrameConfig(steps, 1))
    ).asnumpy()
    return pictures


def read_by(path: str, steps: int, decoder: str) -> NDArray[np.uint8]:
    """Read the index of a file, and frames of it in one of the two ways."""
    index = replace(read_index(path), decoder=decoder)
    return read_pictures(index, sample_frames(index.n_frames, FrameConfig(steps, 1)))[0]


def long_video(path: Path) -> Path:
    """Write a video in which clutter moves, with x264's usual key frames."""
    rng = np.random.default_rng(0)
    canvas = rng.integers(0, 256, (HEIGHT // 8 + 40, WIDTH // 8 + 80, 3), dtype=np.uint8)
    canvas = canvas.repeat(8, 0).repeat(8, 1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(LONG_FRAMES):
            x, y = number % 600, (number // 3) % 300
            window = np.ascontiguousarray(canvas[y : y + HEIGHT, x : x + WIDTH])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(window, format="rgb24")))
        container.mux(stream.encode())
    return path
