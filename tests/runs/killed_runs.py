"""Runs that are killed at random moments; run by test_train.py in a process of its own.

Forked children train; the parent imports torch but never computes, so forking is safe.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch
import torch.utils.tensorboard  # once, not in every child

from focusgym.runs.configs.train import PolicyTrainingConfig, SkipConfig, TrainConfig
from focusgym.runs.run_folder import is_run
from focusgym.runs.train import learning_curve, run_training

POLICY = PolicyTrainingConfig(10, n_envs=6, minibatch=3, conv_channels=2, hidden=6, threads=1)
RUNS = {
    "plain": (POLICY, SkipConfig()),
    "validated": (replace(POLICY, validations=5), SkipConfig()),
    "plus": (POLICY, SkipConfig(plus=True)),
}
SAME = ("results.json", "played.npz", "policy/weights.safetensors", "policy/bundle.json")


def main(root: Path, kills: int) -> None:
    """Kill ``kills`` runs of each kind; print how far they were."""
    torch.set_num_threads(1)  # no pool of threads may exist when a child is forked
    rng = random.Random(0)
    seen: list[list[str]] = []
    for name in RUNS:
        whole, killed = root / "whole" / name, root / "killed" / name
        start = time.perf_counter()
        os.waitpid(train(root, whole), 0)
        seconds = time.perf_counter() - start
        for _ in range(kills):
            child = train(root, killed)
            time.sleep(rng.uniform(0, seconds))
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            seen.append(sorted(each.name for each in killed.glob("*")))
        _, status = os.waitpid(train(root, killed), 0)
        assert not status, f"{name}: the run failed"
        for file in SAME:
            assert (whole / file).read_bytes() == (killed / file).read_bytes(), (name, file)
        assert learning_curve(whole).equals(learning_curve(killed)), name
        assert {each.name for each in whole.glob("*")} == {each.name for each in killed.glob("*")}
    print(json.dumps(seen))


def train(root: Path, out: Path) -> int:
    """Train in a child: begin, or go on."""
    child = os.fork()
    if child == 0:
        files = root / "cache", root / "classifier"
        config = TrainConfig(out, *RUNS[out.name], *files, resume=is_run(out))
        run_training(config, checkpoint_s=0.02)
        os._exit(0)
    return child


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
