"""What it costs a build that decoders run in processes of their own.

``python benchmarks/decoders.py`` builds small caches in turns, with such processes and without.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pandas as pd
import torch
from rows import row

from focusgym.feature_cache import (
    CacheConfig,
    DigitsConfig,
    build_cache,
    make_digits,
    read_videos,
    video_table,
)
from focusgym.feature_cache.videos import decoders
from focusgym.recognizer import Encoder, EncoderConfig, FrameConfig, PatchGrid, option_group

DATA = Path(os.environ.get("FOCUSGYM_DATA", "../shared/data"))
TURNS, N_DIGITS, N_CLIPS = 3, 100, 24


def rows(out: Path) -> dict[str, dict[str, float | str]]:
    """Measure on digits, and on the real clips where they are."""
    root = out / "decoders"
    shutil.rmtree(root, ignore_errors=True)
    table = make_digits(DigitsConfig(n_train=N_DIGITS - 2, n_val=1, n_test=1), root / "digits")
    paths = [str(root / "digits" / path) for path in table["path"]]
    digits = video_table(paths, table["label"].tolist(), table["split"].tolist())
    figures = measured("digits", digits, FrameConfig(12, 64), PatchGrid(64, 28), root)
    if not (DATA / "gestures" / "videos").is_dir():
        print(f"no real clips at {DATA}: set FOCUSGYM_DATA to measure decoders of real clips")
        return figures
    clips = read_videos(DATA / "gestures" / "videos").videos[:N_CLIPS]
    frames = FrameConfig(16, 112, 128)
    return {**figures, **measured("clips", clips, frames, PatchGrid(112, 48, 3), root)}


def measured(
    name: str, videos: pd.DataFrame, frames: FrameConfig, grid: PatchGrid, root: Path
) -> dict[str, dict[str, float | str]]:
    """Return ms of computing per video, all processes together, and the ratio of each turn."""
    torch.manual_seed(0)
    glance = Encoder(EncoderConfig("small_glance", frames.frame_px // 4)).eval()
    local = Encoder(EncoderConfig("small_local")).eval()
    config = CacheConfig(frames, (option_group(grid, "local", local),))
    classes = [str(i) for i in range(int(videos["label"].max()) + 1)]
    ms: dict[bool, list[float]] = {False: [], True: []}
    for turn in range(TURNS + 1):
        for apart in (False, True):
            decoders.HAS_PROCESSES = apart
            begun = computed_s()
            encoders = {"glance": glance, "local": local}
            build_cache(videos, classes, root / "cache", encoders, config)
            if turn:  # the first starts processes
                ms[apart].append(1000 * (computed_s() - begun) / len(videos))
            shutil.rmtree(root / "cache")
    ratios = [a / b for a, b in zip(ms[True], ms[False], strict=True)]
    how = f"a build of {len(videos)} {name} with small encoders, all processes together"
    return {
        f"decoders_{name}": row(ms[True], "ms", f"computing per video, {how}"),
        f"decoders_{name}_within": row(ms[False], "ms", f"without processes that decode, {how}"),
        f"decoders_{name}_ratio": row(ratios, "times", "the former to the latter, in turns"),
    }


def computed_s() -> float:
    """Return how long this process and its decoders have computed, seconds."""
    times = os.times()
    total = times.user + times.system
    for decoder in decoders._POOL._idle:
        fields = Path(f"/proc/{decoder.process.pid}/stat").read_text().rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        for key, entry in rows(Path(folder)).items():
            print(f"{key:28} {entry['value']:.4g} [{entry['low']:.4g}, {entry['high']:.4g}]")
