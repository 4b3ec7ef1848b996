"""Trainings that kill themselves at random moments; run by test_checkpoint.py.

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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from focusgym.agents import PlusTraining, PPOConfig, checkpoint, train_policy
from focusgym.recognizer.checkpoint_file import read_checkpoint

SMALL: dict[str, Any] = {"n_envs": 6, "conv_channels": 2, "hidden": 8}
CONFIGS = {
    "minibatches": PPOConfig(14, minibatch=3, update_epochs=2, **SMALL),
    "one_pass": PPOConfig(
        20,
        minibatch=None,
        update_epochs=1,
        lr_decay=False,
        gae_lambda=1.0,
        normalize="returns",
        max_grad_norm=math.inf,
        **SMALL,
    ),
    "validated": PPOConfig(14, minibatch=3, validations=4, **SMALL),
    "plus": PPOConfig(14, minibatch=3, plus=PlusTraining(keep_from=0.4, keep_ratio=0.5), **SMALL),
    "target": PPOConfig(
        14,
        minibatch=None,
        update_epochs=2,
        plus=PlusTraining(0.3, {"per_gmac": 1e-3}, keep_ratio=None, target_gmacs=4.0),
        **SMALL,
    ),
}
HALF_WRITTEN = "plus"  # this one is killed in the midst of writing a checkpoint


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
        # A kill waits for a checkpoint, not for the clock, so that no training ends before it.
        for checkpoint_at_kill in sorted(rng.sample(range(1, rollouts - 3), kills)):
            delay = rng.uniform(0, seconds / rollouts)
            child = train(root, killed, name, Kill(checkpoint_at_kill, delay))
            _, status = os.waitpid(child, 0)
            assert os.WIFSIGNALED(status), f"{name}: the training failed, or was not killed"
            report["progress"].append(check_whole(killed) / rollouts)
            report["half_written"] += killed.with_name(f"{killed.name}.partial").exists()
        _, status = os.waitpid(train(root, killed, name), 0)
        assert not status, f"{name}: the training failed"
        for suffix in ("", ".json", ".safetensors"):
            pair = [path.with_name(path.name + suffix).read_bytes() for path in (whole, killed)]
            assert pair[0] == pair[1], f"{name}: another {suffix or 'checkpoint'}"
        report["equal"].append(name)
    report["left"] = sorted(path.name for path in root.glob("*.partial"))
    print(json.dumps(report))


@dataclass(frozen=True)
class Kill:
    """When a training kills itself: at a checkpoint, or a while after it."""

    rollout: int
    """The number of rollouts of the checkpoint that arms the kill."""
    delay_s: float
    """Seconds of processor time from the end of that checkpoint's write."""


def train(root: Path, file: Path, name: str, kill: Kill | None = None) -> int:
    """Train in a child, from the checkpoint on if there is one; it leaves its results."""
    child = os.fork()
    if child == 0:
        watch_writes(file, kill, half_written=name == HALF_WRITTEN)
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


def watch_writes(file: Path, kill: Kill | None, *, half_written: bool) -> None:
    """Note every checkpoint before and after it is written; kill this process when it is time.

    Args:
        file: The checkpoint.
        kill: When to kill.
        half_written: Kill in the midst of the write that arms the kill.

    """
    real, notes = checkpoint.write_checkpoint, open(f"{file}.notes", "a")  # noqa: SIM115
    real_open = Path.open

    def noted(path: Path, content: Mapping[str, Any], tensors: Mapping[str, Any]) -> None:
        rollout = content["counters"]["n_rollouts"]
        due = kill is not None and rollout == kill.rollout
        notes.write(f"begun {rollout}\n")
        notes.flush()
        if due and half_written:
            Path.open = opened  # type: ignore[assignment]
        real(path, content, tensors)
        notes.write(f"done {rollout}\n")
        notes.flush()
        if due:  # the default action of SIGPROF ends a process at once, as SIGKILL does
            signal.setitimer(signal.ITIMER_PROF, max(kill.delay_s, 1e-6))

    class Half(io.FileIO):
        def write(self, data: bytes) -> int:  # type: ignore[override]
            super().write(data[: len(data) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
            raise AssertionError("a killed process goes on")

    def opened(self: Path, *args: Any, **options: Any) -> Any:
        if self.name.endswith(".partial"):
            return Half(self, "w")
        return real_open(self, *args, **options)

    checkpoint.write_checkpoint = noted


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
