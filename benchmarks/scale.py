"""What a cluster costs and gives: ``python benchmarks/scale.py OUT [--part ...] [--nodes 1 4]``.

Four parts, of which ``--part`` names some: ``overhead``, Ray beside processes of this machine;
``growth``, units that sleep, on nodes that are simulated on this machine; ``table``, how long
caches of the papers' data sets take on clusters, computed from rates that are measured here;
``feeding``, frames of a video decoded in a process beside the one that encodes, and in a task of
Ray, from which they come through the object store.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from focusgym.feature_cache import (
    CacheConfig,
    Clip,
    DigitsConfig,
    build_cache,
    make_digits,
    read_frames,
    video_table,
)
from focusgym.feature_cache.videos import decoders
from focusgym.feature_cache.videos.mp4 import write_mp4
from focusgym.recognizer import Encoder, EncoderConfig, FrameConfig, PatchGrid, option_group
from focusgym.runs.configs.executor import ExecutorConfig
from focusgym.runs.executors.caches import build_apart
from focusgym.runs.executors.local import LocalExecutor
from focusgym.runs.executors.ray import RayExecutor
from focusgym.runs.executors.units import Executor, Unit

CLIPS, CELLS, STORE_BYTES = 100, 8, 100_000_000
SLEEP_S, UNITS, SLOTS = 0.1, (100, 1000, 10_000), 2  # slots: units at a time on a node
RAY = ExecutorConfig("ray")

# Videos and their mean length in seconds, from the papers; frames that are stored of each, and the
# GMACs and bytes of its features.
T, GMACS, FEATURE_BYTES = 16, 16 * (0.33 + 49 * 1.33), 16 * (49 * 2048 + 50 * 1280) * 2
SETS = {"ActivityNet": (14_950, 117), "FCVID": (91_223, 167), "Mini-Kinetics": (131_082, 10)}
CORES, NODES = 16, (1, 8, 64, 1000)
# Assumed, for one machine cannot measure them: bytes of a second of video; bytes per second of a
# node's network, and of the storage that all nodes share; dollars for an hour of a node.
VIDEO_BYTES_S, NODE_NET, STORAGE, NODE_PRICE = 60e3, 1.25e9, 5e9, 0.7
GPU_RATES = 10e3, 50e3  # assumed too: GMAC/s that encoders reach on a GPU


def main() -> None:
    """Measure what is asked for; print and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--part", nargs="+", default=["overhead", "growth", "table", "feeding"])
    parser.add_argument("--nodes", nargs="+", type=int, default=[1, 4, 16])
    parser.add_argument("--units", nargs="+", type=int, default=[*UNITS])
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "load": os.getloadavg(),  # of all that ran beside
    }
    parts: dict[str, Callable[[], Any]] = {
        "overhead": lambda: overhead(args.out, args.repeats),
        "growth": lambda: growth(args.nodes, args.units),
        "table": table,
        "feeding": feeding,
    }
    for name in args.part:
        results[name] = parts[name]()
        print(json.dumps({name: results[name]}, indent=2), flush=True)
        (args.out / "scale.json").write_text(json.dumps(results, indent=2))


@contextmanager
def cluster(nodes: int, cpus: int = 1) -> Iterator[None]:
    """Start nodes on this machine and join them."""
    import ray
    from ray.cluster_utils import Cluster

    settings = {"USAGE_STATS_ENABLED": "0", "memory_monitor_refresh_ms": "0"}
    settings["worker_niceness"] = "0"  # as processes of this machine have it; Ray's is 15
    os.environ.update({f"RAY_{name}": value for name, value in settings.items()})
    node = {"num_cpus": cpus, "object_store_memory": STORE_BYTES}
    started = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    try:
        for _ in range(nodes - 1):
            started.add_node(wait=False, **node)
        started.wait_for_nodes()
        ray.init(started.address, log_to_driver=False)
        yield
    finally:
        ray.shutdown()
        started.shutdown()


def rest(seconds: float) -> None:
    """Do nothing for a while, as a unit of work."""
    time.sleep(seconds)


def train(out: Path, seed: int) -> None:
    """Train a small network on random numbers, as a cell of a comparison does, and leave it."""
    torch.manual_seed(seed)
    network = torch.nn.GRU(64, 128, batch_first=True)
    optimizer = torch.optim.SGD(network.parameters(), 1e-3)
    x = torch.randn(32, 8, 64)
    for _ in range(150):
        optimizer.zero_grad()
        network(x)[0].square().mean().backward()
        optimizer.step()
    out.mkdir(parents=True)
    torch.save(network.state_dict(), out / "weights.pt")


def overhead(out: Path, repeats: int) -> dict[str, Any]:
    """Time a build and a comparison on Ray and beside it in processes, in turn.

    The start of processes is timed by units that do nothing, and left out of both: a cluster that
    runs has it behind it, and a comparison that takes hours does not notice.
    """
    root = Path(tempfile.mkdtemp(dir=out))
    table = make_digits(DigitsConfig(n_train=CLIPS, n_val=1, n_test=1, n_frames=16), root / "data")
    table = table[table["split"] == "train"]
    paths = [str(root / "data" / path) for path in table["path"]]
    videos = video_table(paths, table["label"].tolist(), table["split"].tolist())
    glance = Encoder(EncoderConfig("small_glance", input_px=32)).eval()
    local = Encoder(EncoderConfig("small_local")).eval()
    group = option_group(PatchGrid(64, 28), "local", local)
    config = CacheConfig(FrameConfig(steps=8, frame_px=64), (group,))
    encoders, classes = {"glance": glance, "local": local}, [str(i) for i in range(10)]
    cores = os.cpu_count() or 1
    idle = {str(i): Unit((0.0,)) for i in range(cores)}

    def timed(act: Callable[[], object]) -> float:
        start = time.perf_counter()
        act()
        return time.perf_counter() - start

    def cells(do: Executor, place: Path) -> Callable[[], object]:
        units = {str(i): Unit((place / str(i), i), place / str(i)) for i in range(CELLS)}
        return lambda: do(train, units, "cells")

    build, compare, starts = [], [], []
    with cluster(1, cores):
        do, local_do = RayExecutor(RAY), LocalExecutor(cores)
        start_s = timed(lambda: do(rest, idle, "start"))
        for i in range(repeats + 1):  # the first one imports what is needed, and does not count
            place = root / f"{i}"
            contents = (encoders, config)
            local_s = timed(partial(build_cache, videos, classes, place / "a", *contents))
            ray_s = timed(
                partial(
                    build_apart,
                    *(do, videos, classes, place / "b", *contents),
                    videos_root=root / "data",
                )
            )
            build.append((local_s, ray_s))
            starts.append(timed(lambda: local_do(rest, idle, "start")))
            local_s = timed(cells(local_do, place / "c")) - starts[-1]
            compare.append((local_s, timed(cells(do, place / "d"))))
    shutil.rmtree(root)
    return {
        "start_of_workers_s": start_s,
        "start_of_processes_s": starts,
        "first_build_s_local_and_ray": build.pop(0),
        "first_cells_s_local_and_ray": compare.pop(0),
        "build_s_local_and_ray": build,
        "build_ratio": float(np.median([ray_s / local_s for local_s, ray_s in build])),
        "cells_s_local_and_ray": compare,
        "cells_ratio": float(np.median([ray_s / local_s for local_s, ray_s in compare])),
    }


def growth(nodes: list[int], units: list[int]) -> list[dict[str, Any]]:
    """Run units that sleep on simulated nodes: a core can watch many of them."""
    rows = []
    for n_nodes in nodes:
        with cluster(n_nodes, SLOTS):
            do = RayExecutor(RAY)
            do(rest, {str(i): Unit((SLEEP_S,)) for i in range(SLOTS * n_nodes)}, "start")
            for n in units:
                cpu, start = _cpu_s(), time.perf_counter()
                do(
                    rest,
                    {str(i): Unit((SLEEP_S,)) for i in range(n)},
                    f"{n_nodes} nodes",
                    0,
                    "unit",
                )
                wall = time.perf_counter() - start
                slots = SLOTS * n_nodes
                rows.append(
                    {
                        "nodes": n_nodes,
                        "units": n,
                        "ms_per_unit": 1e3 * wall / n,
                        "asleep_ms_per_unit": 1e3 * SLEEP_S / min(n, slots),
                        "head_cpu_ms_per_unit": 1e3 * (_cpu_s() - cpu) / n,
                        "head_peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
                        "raylet_mb": _resident_mb("raylet"),
                        "worker_mb": _resident_mb("ray::"),
                    }
                )
    return rows


def _resident_mb(name: str) -> float:
    """Return the mean resident memory of processes whose name begins so."""
    pages = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if process.joinpath("comm").read_text().startswith(name):
                pages.append(int(process.joinpath("statm").read_text().split()[1]))
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended
    return float(np.mean(pages)) * os.sysconf("SC_PAGE_SIZE") / 1e6


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


@dataclass(frozen=True)
class Rates:
    """What one core and one disk do.

    Attributes:
        decode_s: Seconds of a core to read T frames of a video of this many seconds.
        gmacs_per_s: Of ResNet-50 on patches of 128 px, on a core.
        disk_bytes_per_s: Written and synced.
    """

    decode_s: dict[int, float]
    gmacs_per_s: float
    disk_bytes_per_s: float


def measure_rates() -> Rates:
    """Measure, each the best of three; computing in CPU time, since others may run beside."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        decode = {length: _decode_s(Path(folder), length) for _, length in SETS.values()}
        content = os.urandom(1 << 26)
        file = Path(folder) / "file"
        disk = len(content) / _best(lambda: _write(file, content), time.perf_counter)
    network = Encoder(EncoderConfig("resnet50")).eval().fused()
    batch = torch.randn(49, 3, 128, 128)
    with torch.no_grad():
        encode = 49 * 1.33 / _best(lambda: network.encode(batch))
    return Rates(decode, encode, disk)


def _decode_s(folder: Path, length_s: int) -> float:
    """Return the CPU time of reading a video's frames, all of it in this process."""
    clip = moving_video(folder, length_s)
    before, decoders.HAS_PROCESSES = decoders.HAS_PROCESSES, False
    try:
        return _best(lambda: read_frames(clip, FrameConfig(T, 224, 256)))
    finally:
        decoders.HAS_PROCESSES = before


def moving_video(folder: Path, length_s: int) -> Clip:
    """Write a video of 340 × 256 px that moves, 8 frames a second."""
    rng = np.random.default_rng(0)
    still = rng.integers(0, 255, (256, 340 + 8 * length_s, 3), dtype=np.uint8)
    smooth = np.stack([np.roll(still, i, (0, 1)) for i in range(8)]).mean(0).astype(np.uint8)
    frames = np.lib.stride_tricks.sliding_window_view(smooth, 340, 1)  # (256, X, 3, 340)
    frames = frames.transpose(1, 0, 3, 2)[: 8 * length_s]  # a picture that moves, 8 a second
    path = folder / f"{length_s}.mp4"
    write_mp4(frames, path)
    return Clip(str(path), "clip")


def feeding(runs: int = 30) -> dict[str, Any]:
    """Time what frames of a short video cost the process that encodes, in two ways; the best."""
    import ray

    def decoded(clip: Clip) -> np.ndarray[Any, Any]:
        return read_frames(clip, FrameConfig(T, 224, 256))[0].numpy()

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, cluster(1, 2):
        clip = moving_video(Path(folder), 10)
        frames = decoded(clip)
        task = ray.remote(decoded)
        acts: dict[str, Callable[[], object]] = {
            "decoded_beside": lambda: decoded(clip),
            "decoded_in_a_task": lambda: torch.from_numpy(ray.get(task.remote(clip)).copy()),
            "through_the_store_alone": lambda: torch.from_numpy(ray.get(ray.put(frames)).copy()),
        }
        figures: dict[str, Any] = {"mb_per_video": frames.nbytes / 1e6}
        for name, act in acts.items():
            act()
            figures[f"{name}_ms"] = 1e3 * _best(act, time.perf_counter, runs)
            figures[f"{name}_own_cpu_ms"] = 1e3 * _best(act, time.process_time, runs)
        decode_s = {name: _decode_s(Path(folder), s) for name, (_, s) in SETS.items()}
    figures["cores_for_a_gpu"] = {
        f"{rate / 1e3:g} TMAC/s": {name: s * rate / GMACS for name, s in decode_s.items()}
        for rate in GPU_RATES
    }
    return figures


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _best(
    act: Callable[[], object], clock: Callable[[], float] = time.process_time, runs: int = 3
) -> float:
    times = []
    for _ in range(runs):
        start = clock()
        act()
        times.append(clock() - start)
    return min(times)


def table() -> dict[str, Any]:
    """Compute hours of a build, and what they are spent on, for each data set and cluster."""
    rates = measure_rates()
    rows = []
    for name, (videos, length_s) in SETS.items():
        for nodes in NODES:
            cores = min(nodes * CORES, videos)  # a video is not divided
            moved = videos * (length_s * VIDEO_BYTES_S + FEATURE_BYTES)
            seconds = {
                "decode": videos * rates.decode_s[length_s] / cores,
                "encode": videos * GMACS / rates.gmacs_per_s / cores,
                "network": moved / (nodes * NODE_NET),
                "storage": moved / STORAGE,
                "merge": videos * FEATURE_BYTES / rates.disk_bytes_per_s,  # the head, alone
            }
            most = max(seconds["network"], seconds["storage"])  # beside the computing
            hours = (max(seconds["decode"] + seconds["encode"], most) + seconds["merge"]) / 3600
            rows.append(
                {
                    "set": name,
                    "nodes": nodes,
                    "hours": round(hours, 3),
                    "dollars": round(nodes * hours * NODE_PRICE, 1),
                    "bottleneck": max(seconds, key=lambda part: seconds[part]),
                    **{f"{part}_h": round(s / 3600, 3) for part, s in seconds.items()},
                }
            )
    return {"rates": vars(rates), "rows": rows}


if __name__ == "__main__":
    main()
