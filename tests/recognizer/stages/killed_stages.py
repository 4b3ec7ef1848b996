"""Stages that are killed at random moments; run by test_resume.py in a process of its own.

Forked children train; the parent imports torch but never computes, so forking is safe.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
import traceback
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from stage_trainings import FEATURES, PIXELS, make_on_features, make_pixels, train

from focusgym.recognizer import checkpoint_file, read_checkpoint

KINDS = {
    "pixels": (lambda: make_pixels(skip_rate=0.3), replace(PIXELS, epochs=6)),
    "features": (make_on_features, replace(FEATURES, epochs=6)),
}


def main(root: Path, kills: int) -> None:
    """Kill ``kills`` runs of each training; print what was found."""
    torch.set_num_threads(1)  # no pool of threads may exist when a child is forked
    rng = random.Random(0)
    report: dict[str, Any] = {"progress": [], "half_written": 0, "equal": [], "left": []}
    for kind in KINDS:
        whole, killed = root / f"{kind}.whole", root / f"{kind}.killed"
        start = time.perf_counter()
        os.waitpid(begin(whole, kind), 0)
        seconds = time.perf_counter() - start
        n_killed = 0
        while True:
            child = begin(killed, kind)
            if n_killed < kills:
                time.sleep(rng.uniform(0, seconds / kills))
                if n_killed % 2:  # in the midst of the next write
                    wait_for(killed.with_name(f"{killed.name}.partial"))
                os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            if not status:
                break
            assert os.WIFSIGNALED(status), f"{kind}: the training failed"
            n_killed += 1
            report["half_written"] += killed.with_name(f"{killed.name}.partial").exists()
            content = read_checkpoint(killed)[0]["progress"] if killed.exists() else {}
            report["progress"].append((content.get("epoch", 0), content.get("step", 0)))
        for suffix in ("", ".json", ".safetensors"):
            pair = [path.with_name(path.name + suffix).read_bytes() for path in (whole, killed)]
            assert pair[0] == pair[1], f"{kind}: another {suffix or 'checkpoint'}"
        report["equal"].append(kind)
    report["left"] = sorted(path.name for path in root.glob("*.partial"))
    print(json.dumps(report))


def begin(file: Path, kind: str) -> int:
    """Train in a child, from the checkpoint on if there is one; it leaves its results."""
    child = os.fork()
    if child == 0:
        try:
            write_slowly()
            make, config = KINDS[kind]
            stage = make()
            kept = train(stage, config, checkpoint=file)
            weights = {name: value.contiguous() for name, value in stage.state_dict().items()}
            save_file(weights, f"{file}.safetensors")
            Path(f"{file}.json").write_text(json.dumps(asdict(kept)))
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return child


def wait_for(file: Path) -> None:
    """Wait until a file is there, two seconds at the most."""
    end = time.monotonic() + 2
    while not file.exists() and time.monotonic() < end:
        time.sleep(2e-4)


def write_slowly() -> None:
    """Let half of the time pass while a checkpoint is written."""
    real = os.fsync

    def fsync(file: int) -> None:
        time.sleep(0.01)
        real(file)

    checkpoint_file.os.fsync = fsync  # type: ignore[attr-defined]


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
