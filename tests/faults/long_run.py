"""Memory and open files of a long training, and of a cache of many videos.

``python tests/faults/long_run.py --minutes 60 --videos 2000`` trains for so many minutes, builds a
cache of so many short videos, and prints what both held in their second fifth and in their last.
With 0 minutes, or 0 videos, only the other is done.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ["TQDM_DISABLE"] = "1"

import torch
from kills import begin, ends_of
from random_kills import TRAIN, cpu_s
from support import small_group, write_cache, write_classifier

from focusgym.feature_cache import (
    CacheConfig,
    DigitsConfig,
    build_cache,
    make_digits,
    video_table,
)
from focusgym.recognizer import Encoder, EncoderConfig, FrameConfig, PatchGrid
from focusgym.runs.cli import main as focusgym
from focusgym.runs.training import policy_run

EVERY_S = 2.0


@dataclass
class Samples:
    """What a process holds, from time to time, those that it started included.

    Attributes:
        memory_mb: Resident memory, MB.
        files: Open files.
        processes: How many.
        computed_s: How long the process itself has computed, seconds.
    """

    memory_mb: list[float] = field(default_factory=list)
    files: list[int] = field(default_factory=list)
    processes: list[int] = field(default_factory=list)
    computed_s: float = 0.0

    def take(self, process: int) -> None:
        """Add what the process holds now."""
        family = [process, *children_of(process)]
        self.computed_s = cpu_s(process)
        memory, files = 0, 0
        for each in family:
            try:
                pages = int(Path(f"/proc/{each}/statm").read_text().split()[1])
                files += len(os.listdir(f"/proc/{each}/fd"))
            except OSError:  # it has ended
                continue
            memory += pages * os.sysconf("SC_PAGE_SIZE")
        self.memory_mb.append(memory / 1e6)
        self.files.append(files)
        self.processes.append(len(family))

    def summary(self) -> dict[str, float]:
        """Return medians of the second fifth, when all is imported, and of the last."""
        n = max(1, len(self.memory_mb) // 5)
        figures: dict[str, float] = {"samples": len(self.memory_mb), "computed_s": self.computed_s}
        for name in ("memory_mb", "files", "processes"):
            values = getattr(self, name)
            figures[f"{name}_early"] = round(median(values[n : 2 * n] or values), 1)
            figures[f"{name}_late"] = round(median(values[-n:]), 1)
            figures[f"{name}_most"] = round(max(values), 1)
        return figures


def children_of(process: int) -> list[int]:
    """Return the processes that a process has started, and that still run."""
    try:
        tasks = Path(f"/proc/{process}/task").iterdir()
        return [int(each) for task in tasks for each in (task / "children").read_text().split()]
    except OSError:
        return []


def watch(act: Callable[[], object], most_s: float | None, output: Path) -> Samples:
    """Run in a process, for at most so long, and look at what it holds."""
    child, samples, done = begin(act, output), Samples(), threading.Event()
    status: list[int] = []

    def wait() -> None:
        status.extend(ends_of([child]))
        done.set()

    thread = threading.Thread(target=wait)
    thread.start()
    begun = time.monotonic()
    while not done.wait(EVERY_S):
        samples.take(child)
        if most_s is not None and time.monotonic() - begun > most_s:
            os.kill(child, signal.SIGINT)
            break
    thread.join()
    if status[0] not in (0, 130):
        raise SystemExit(
            f"ended with {status[0]}: {output.with_suffix('.err').read_text()[-2000:]}"
        )
    return samples


def train(root: Path) -> None:
    signal.alarm(0)  # it may take as long as it is asked to
    policy_run.run_training.__defaults__ = (5.0,)  # checkpoints, too, many times
    read = ("--cache", str(root / "cache"), "--classifier", str(root / "f_c"))
    focusgym(["train", str(root / "run"), *read, *TRAIN[:-1], "--epochs=10000000"])


def build(root: Path, n: int) -> None:
    torch.manual_seed(0)
    encoders = {
        "glance": Encoder(EncoderConfig("small_glance", input_px=12)).eval(),
        "local": Encoder(EncoderConfig("small_local")).eval(),
    }
    config = CacheConfig(FrameConfig(4, 64), (small_group(PatchGrid(64, 28, 3)),))
    table = make_digits(DigitsConfig(n_train=20, n_val=1, n_test=1, n_frames=8), root / "digits")
    paths = []
    for i in range(n):  # as many files of few videos
        paths.append(root / "videos" / f"{i}.mp4")
        os.makedirs(paths[-1].parent, exist_ok=True)
        os.link(root / "digits" / table["path"][i % len(table)], paths[-1])
    videos = video_table([*map(str, paths)], [i % 10 for i in range(n)], ["train"] * n)
    build_cache(videos, [str(i) for i in range(10)], root / "built", encoders, config)


def main() -> None:
    """Print what both held, as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60, help="of training")
    parser.add_argument("--videos", type=int, default=2000, help="in the cache")
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have let it be ignored
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_classifier(write_cache(root / "cache", n=50), root / "f_c")
        if options.videos:
            held = watch(lambda: build(root, options.videos), None, root / "said build").summary()
            print(json.dumps({"build": f"{options.videos} videos", **held}), flush=True)
        if options.minutes:
            held = watch(lambda: train(root), 60 * options.minutes, root / "said train").summary()
            sizes = [path.stat().st_size for path in (root / "run").rglob("*") if path.is_file()]
            held |= {"run_files": len(sizes), "run_mb": round(sum(sizes) / 1e6, 2)}
            print(json.dumps({"train": f"{options.minutes} min", **held}), flush=True)


if __name__ == "__main__":
    main()
