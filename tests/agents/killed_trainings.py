"""Trainings that are killed at random moments; run by test_checkpoint.py in a process of its own.

Forked children train; the parent imports torch but never computes, so forking is safe.
"""

from __future__ import annotations

import io
import json
import math
import os
import random
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from focusgym.agents import PlusTraining, PPOConfig, checkpoint, train_policy
from focusgym.recognizer.checkpoint_file import read_checkpoint

SMALL: dict[str, Any] = {"n_envs": 6, "conv_channels": 2, "hidden": 8}
CONFIGS = {
    "minibatches": PPOConfig(40, minibatch=3, update_epochs=2, **SMALL),
    "one_pass": PPOConfig(
        60,
        minibatch=None,
        update_epochs=1,
        lr_decay=False,
        gae_lambda=1.0,
        normalize="returns",
        max_grad_norm=math.inf,
        **SMALL,
    ),
    "validated": PPOConfig(40, minibatch=3, validations=7, **SMALL),
    "plus": PPOConfig(40, minibatch=3, plus=PlusTraining(keep_from=0.4, keep_ratio=0.5), **SMALL),
    "target": PPOConfig(
        40,
        minibatch=None,
        update_epochs=2,
        plus=PlusTraining(0.3, {"per_gmac": 1e-3}, keep_ratio=None, target_gmacs=4.0),
        **SMALL,
    ),
}
SLOWLY = "plus"  # this one's checkpoints take most of its time


def main(root: Path, kills: int) -> None:
    """Kill ``kills`` runs of each training; print what was found."""
    torch.set_num_threads(1)  # no pool of threads may exist when a child is forked
    rng = random.Random(0)
    report: dict[str, Any] = {"progress": [], "half_written": 0, "equal": []}
    for name in CONFIGS:
        whole, killed = root / f"{name}.whole", root / f"{name}.killed"
        start = time.perf_counter()
        os.waitpid(train(root, whole, name), 0)
        seconds = time.perf_counter() - start
        rollouts = int(read_checkpoint(whole)[0]["counters"]["n_rollouts"])
        n_killed = 0
        while True:
            child = train(root, killed, name)
            if n_killed < kills:
                time.sleep(rng.uniform(0, seconds / kills))
                if name == SLOWLY:  # in the midst of the next write
                    wait_for(killed.with_name(f"{killed.name}.partial"))
                os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            if not status:
                break
            assert os.WIFSIGNALED(status), f"{name}: the training failed"
            n_killed += 1
            done = check_whole(killed)
            report["progress"].append(done / rollouts)
            report["half_written"] += killed.with_name(f"{killed.name}.partial").exists()
        for suffix in ("", ".json", ".safetensors"):
            pair = [path.with_name(path.name + suffix).read_bytes() for path in (whole, killed)]
            assert pair[0] == pair[1], f"{name}: another {suffix or 'checkpoint'}"
        report["equal"].append(name)
    report["left"] = sorted(path.name for path in root.glob("*.partial"))
    print(json.dumps(report))


def train(root: Path, file: Path, name: str) -> int:
    """Train in a child, from the checkpoint on if there is one; it leaves its results."""
    child = os.fork()
    if child == 0:
        watch_writes(file, slowly=name == SLOWLY)
        policy, returns = train_policy(
            root / "cache",
            root / "classifier",
            CONFIGS[name],
            seed=1,
            checkpoint=file,
            checkpoint_s=0,
        )
        save_file(policy.state_dict(), f"{file}.safetensors")
        results = {"returns": returns, "rho": policy.config.threshold}
        Path(f"{file}.json").write_text(json.dumps(results))
        os._exit(0)
    return child


def wait_for(file: Path) -> None:
    """Wait until a file is there, two seconds at the most."""
    end = time.monotonic() + 2
    while not file.exists() and time.monotonic() < end:
        time.sleep(2e-4)


def watch_writes(file: Path, *, slowly: bool) -> None:
    """Note every checkpoint before and after it is written; if so asked, write in small pieces."""
    real, notes = checkpoint.write_checkpoint, open(f"{file}.notes", "a")  # noqa: SIM115

    def noted(path: Path, content: Mapping[str, Any], tensors: Mapping[str, Any]) -> None:
        for word in ("begun", "done"):
            notes.write(f"{word} {content['counters']['n_rollouts']}\n")
            notes.flush()
            if word == "begun":
                real(path, content, tensors)

    class Pieces(io.FileIO):
        def write(self, data: bytes) -> int:  # type: ignore[override]
            for start in range(0, len(data), len(data) // 8):
                super().write(data[start : start + len(data) // 8])
                time.sleep(1e-3)
            return len(data)

    real_open = Path.open

    def opened(self: Path, *args: Any, **options: Any) -> Any:
        if self.name.endswith(".partial"):
            return Pieces(self, "w")
        return real_open(self, *args, **options)

    checkpoint.write_checkpoint = noted
    if slowly:
        Path.open = opened  # type: ignore[assignment]


def check_whole(file: Path) -> int:
    """Check that the last checkpoint, or the one that was being written, is there, whole."""
    notes = Path(f"{file}.notes")
    words = [line.split() for line in notes.read_text().splitlines()] if notes.exists() else []
    done = [int(n) for word, n in words if word == "done"][-1:]
    if not file.exists():
        assert not done, "a checkpoint is gone"
        return 0
    found = int(read_checkpoint(file)[0]["counters"]["n_rollouts"])
    assert found in (*done, int(words[-1][1])), (found, words[-2:])
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
