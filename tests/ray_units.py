"""Units of work for tests on a cluster: small, and each leaves notes of when it was done."""

from __future__ import annotations

import os
import time
from pathlib import Path

from focusgym.runs.comparison import grid
from focusgym.runs.executors.units import LostError


def note(path: Path, text: object) -> None:
    """Add a line to a file."""
    with path.open("a") as file:
        file.write(f"{text}\n")


def write(out: Path, content: str, read: Path | None = None) -> str:
    """Leave a folder with a file, behind what stands in another folder's; return where it was."""
    out.mkdir(parents=True)
    before = "" if read is None else (read / "content").read_text()
    (out / "content").write_text(before + content)
    return str(out)


def taken() -> tuple[dict[str, float], int, int, str | None]:
    """Return what Ray has given the unit, torch's threads, the process, and the GPUs it may see."""
    import ray
    import torch

    resources = ray.get_runtime_context().get_assigned_resources()
    return resources, torch.get_num_threads(), os.getpid(), os.environ.get("CUDA_VISIBLE_DEVICES")


def wait(notes: Path, name: str, go: Path) -> str:
    """Note the node and the process that the unit has begun in, and wait until a file is there."""
    import ray

    note(notes / f"{name}.begun", f"{ray.get_runtime_context().get_node_id()} {os.getpid()}")
    while not go.exists():
        time.sleep(0.05)
    note(notes / f"{name}.done", os.getpid())
    return name


def train_cell(notes: Path, job: grid.Job) -> None:
    """Train a cell of a comparison, once `wait` has returned."""
    wait(notes, str(job.config.seed), notes / "go")
    grid._train_cell(job)


def fail(message: str) -> None:
    """Print something, as a library beneath Python does too, and fail."""
    print("working on it")
    os.system("echo a library says something")
    raise RuntimeError(message)


def die(notes: Path) -> None:
    """Note that it was begun, and end without a word."""
    note(notes / "died", os.getpid())
    os._exit(3)


def lose(notes: Path) -> None:
    """Note that it was begun, and say that what it needs of another node is gone."""
    note(notes / "lost", os.getpid())
    raise LostError("clip.mp4 was not decoded")
