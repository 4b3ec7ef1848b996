"""How fast caches are built beside the bare encoders, and how much memory a build takes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import torch
from rows import row
from torch import Tensor

from focusgym.feature_cache import (
    CacheConfig,
    Clip,
    VideoEncoder,
    build_cache,
    clips_of,
    make_encoder,
    read_frames,
    read_videos,
)
from focusgym.feature_cache.building.build import check_features, encoding_workers
from focusgym.feature_cache.building.encode import view_arrays
from focusgym.recognizer import (
    GLANCE_PIXELS,
    LOCAL_PIXELS,
    EncoderConfig,
    FrameConfig,
    PatchGrid,
    batches,
    encoder_gmacs,
    option_group,
    torch_threads,
)
from focusgym.recognizer.pipeline.look import crop_all

DATA = Path(os.environ.get("FOCUSGYM_DATA", "../shared/data"))
STEPS, FEW, MANY, REPEATS = 8, 4, 28, 5
MEMORY_COPIES = (8, 80, 800)


def rows(out: Path) -> dict[str, dict[str, float | str]]:
    """Measure on the real clips, where they are; else only what needs none."""
    weights = DATA / "weights" / "mobilenet_v2_features.pth"
    if not weights.exists():
        print(f"no real clips at {DATA}: set FOCUSGYM_DATA to measure building on real clips")
        return memory(out)
    return {**throughput(out, weights), **memory(out)}


def throughput(out: Path, weights: Path) -> dict[str, dict[str, float | str]]:
    """Build caches of real clips, in turn with the bare encoders on the same batches.

    The time of a small build is taken off that of a large one, so that what is done once per
    build does not count.
    """
    listed = read_videos(DATA / "gestures")
    videos = listed.videos.iloc[:: len(listed.videos) // MANY][:MANY].reset_index(drop=True)
    networks = [make_encoder(EncoderConfig("mobilenet_v2"), str(weights)) for _ in range(2)]
    glance, local = networks
    encoders = {"glance": glance, "local": local}
    group = option_group(PatchGrid(224, 128), "local", local)
    config = CacheConfig(FrameConfig(STEPS, 224, 256), (group,))
    encoder = VideoEncoder(encoders, config)
    frames, _ = read_frames(clips_of(videos)[0], config.frames)
    prepared = prepared_batches(encoder, frames)
    unfused = [
        (network.encode, part) for network, (_, part) in zip(networks, prepared, strict=True)
    ]

    def build(table: pd.DataFrame) -> float:
        root = out / "cache"
        shutil.rmtree(root, ignore_errors=True)
        start = time.perf_counter()
        build_cache(table, listed.classes, root, encoders, config)
        return time.perf_counter() - start

    n = MANY - FEW
    gmacs = STEPS * (encoder_gmacs(glance, 224) + 49 * group.gmacs)
    ratios, plain_ratios, rates, bare_rates, machine_rates = [], [], [], [], []
    for _ in range(REPEATS):
        bare_s = min(bare(prepared, n, together=False), bare(prepared, n, together=True))
        plain_s = bare(unfused, n // 4, together=True) * 4
        build_s = build(videos) - build(videos[:FEW])
        ratios.append(bare_s / build_s)
        plain_ratios.append(plain_s / build_s)
        rates.append(n * STEPS / build_s)
        bare_rates.append(n * gmacs / bare_s)
        machine_rates.append(matrix_product_gmacs_per_s())
    shutil.rmtree(out / "cache")
    how = (
        f"{n} clips of 342×256 px, T = {STEPS}, P = 128, K = 49, MobileNet-V2 twice, "
        f"{torch.get_num_threads()} cores"
    )
    return {
        "cache_build_vs_encoder": row(
            ratios,
            "",
            f"{how}; frames per second of build_cache, as a share of the bare fused encoders' on "
            "the same prepared batches (the faster of one thread per video and all threads per "
            "batch), in turn",
        ),
        "cache_build_vs_torchvision": row(
            plain_ratios, "", f"{how}; the same beside torchvision's modules as they come"
        ),
        "cache_build_frames_per_second": row(rates, "1/s", how),
        "cache_bare_encoder_rate": row(bare_rates, "GMAC/s", f"{how}; the bare fused encoders"),
        "machine_matrix_product_rate": row(
            machine_rates, "GMAC/s", "product of two 2048×2048 float32 matrices, all threads"
        ),
        **parts_of_a_video(encoder, clips_of(videos)),
    }


def matrix_product_gmacs_per_s() -> float:
    """Return how many multiply-adds per second the machine does at its best."""
    a, b = torch.randn(2, 2048, 2048)
    a @ b
    start = time.perf_counter()
    for _ in range(5):
        a @ b
    return 5 * 2048**3 / 1e9 / (time.perf_counter() - start)


def parts_of_a_video(encoder: VideoEncoder, clips: list[Clip]) -> dict[str, dict[str, float | str]]:
    """Time what one worker does for a video, with one thread and nothing else running."""
    (group,) = encoder.config.groups
    seconds: dict[str, list[float]] = {"decode": [], "encoders": [], "crops": [], "checks": []}
    with encoding_workers(encoder.config), torch.inference_mode():
        for clip in clips:
            ticks = [time.perf_counter()]
            frames, view = read_frames(clip, encoder.config.frames)
            ticks.append(time.perf_counter())
            prepared = prepared_batches(encoder, frames)
            ticks.append(time.perf_counter())
            for network, parts in prepared:
                for part in parts:
                    network(part)
            ticks.append(time.perf_counter())
            features = {**encoder.encode(frames), **view_arrays(view)}
            before = time.perf_counter()
            check_features(features, clip, encoder.config.dtype, "pyav")
            seconds["decode"].append(ticks[1] - ticks[0])
            seconds["crops"].append(ticks[2] - ticks[1])
            seconds["encoders"].append(ticks[3] - ticks[2])
            seconds["checks"].append(time.perf_counter() - before)
    n_options = group.places.n_options
    how = f"of a worker per clip, one thread, T = {STEPS}, P = 128, K = {n_options}; clips"
    return {
        f"cache_video_{name}_ms": row([1000 * s for s in values], "ms", f"{name} {how}")
        for name, values in seconds.items()
    }


Prepared = list[tuple[Callable[[Tensor], Tensor], list[Tensor]]]


def prepared_batches(encoder: VideoEncoder, frames: Tensor) -> Prepared:
    """Return each network with all the float batches of one video."""
    with torch.inference_mode():
        (group,) = encoder.config.groups
        f_g, f_l = encoder.encoders["glance"], encoder.encoders[group.encoder]
        looked, glanced = (
            each(frames) for each in (encoder.config.frames.look, encoder.config.frames.glance)
        )
        patches = [
            batch
            for segment in f_l.prepare(looked).split(1)
            for batch in batches(crop_all(group.places, segment), LOCAL_PIXELS)
        ]
        glances = list(batches(f_g.prepare(glanced), GLANCE_PIXELS))
    return [(f_g.encode, glances), (f_l.encode, patches)]


def bare(prepared: Prepared, n: int, *, together: bool) -> float:
    """Return the seconds of n videos' forward passes, and nothing else."""

    def forward(_: int) -> None:
        with torch.inference_mode():
            for network, parts in prepared:
                for batch in parts:
                    network(batch)

    if together:
        forward(0)
        start = time.perf_counter()
        for i in range(n):
            forward(i)
        return time.perf_counter() - start
    workers = torch.get_num_threads()
    with torch_threads(1), ThreadPoolExecutor(workers) as pool:
        list(pool.map(forward, range(workers)))
        start = time.perf_counter()
        list(pool.map(forward, range(n)))
        return time.perf_counter() - start


# The kernel's own mark: getrusage tells a child of a large process its parent's.
PEAK = """
import re, sys
import pandas as pd
from focusgym.feature_cache import *
from focusgym.recognizer import EncoderConfig, FrameConfig, PatchGrid, option_group
root, n = sys.argv[1], int(sys.argv[2])
table = pd.read_csv(f"{root}/data/videos.csv")
paths = [f"{root}/data/{path}" for path in table["path"]]
videos = video_table(paths, table["label"].tolist(), table["split"].tolist())[:n]
names = {"glance": "small_glance", "local": "small_local"}
encoders = {key: make_encoder(EncoderConfig(name), "random") for key, name in names.items()}
group = option_group(PatchGrid(64, 28), "local", encoders["local"])
config = CacheConfig(FrameConfig(6, 64), (group,))
build_cache(videos, [str(i) for i in range(10)], f"{root}/cache", encoders, config)
print(int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) / 1024)
"""


def memory(out: Path) -> dict[str, dict[str, float | str]]:
    """Build caches of more and more of the embedded videos, each in a process of its own."""
    run = out / "quickstart-0"
    table = {}
    for n in MEMORY_COPIES:
        peaks = []
        for _ in range(3):
            shutil.rmtree(run / "memory", ignore_errors=True)
            (run / "memory").mkdir()
            (run / "memory" / "data").symlink_to(run.resolve() / "data")
            command = [sys.executable, "-c", PEAK, str(run / "memory"), str(n)]
            ran = subprocess.run(command, check=True, capture_output=True, text=True)
            peaks.append(float(ran.stdout))
        how = f"peak resident memory of a process that builds a cache of {n} embedded videos"
        table[f"cache_build_peak_memory_{n}"] = row(peaks, "MiB", how)
    shutil.rmtree(run / "memory")
    return table
