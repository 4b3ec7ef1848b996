"""Trainings that kill themselves at checkpoints; run by test_checkpoint.py."""

from __future__ import annotations

import json
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Any

from kills import in_a_child, kill_at_checkpoint
from safetensors.torch import save_file

from focusgym.agents import PlusTraining, PPOConfig, train_policy
from focusgym.agents.checkpoints import checkpoint
from focusgym.recognizer.files.checkpoint_file import read_checkpoint

SMALL: dict[str, Any] = {"n_envs": 6, "conv_channels": 2, "hidden": 8}
CONFIGS = {
    "validated": PPOConfig(6, minibatch=3, update_epochs=2, validations=4, **SMALL),
    "target": PPOConfig(
        6,
        minibatch=None,
        update_epochs=2,
        plus=PlusTraining(
            keep_from=0.3, penalty={"per_gmac": 1e-3}, keep_ratio=None, target_gmacs=4.0
        ),
        **SMALL,
    ),
}
# At which checkpoint, counted from where the training went on, and whether in the midst of it.
KILLS = ((3, False), (4, True))


def main(root: Path) -> None:
    """Kill each training; print how many rollouts its checkpoint had of how many."""
    report: dict[str, list[int]] = {}
    for name in CONFIGS:
        uninterrupted, killed = root / f"{name}.whole", root / f"{name}.killed"
        assert in_a_child(partial(train, root, uninterrupted, name)) == 0
        report[name] = []
        for n, half_written in KILLS:
            ended = in_a_child(partial(train, root, killed, name, n, half_written))
            assert ended == -signal.SIGKILL, f"{name}: the training failed, or was not killed"
            assert killed.with_name(f"{killed.name}.partial").exists() == half_written
            report[name].append(n_rollouts(killed))
        assert in_a_child(partial(train, root, killed, name)) == 0
        for suffix in ("", ".json", ".safetensors"):
            pair = [
                path.with_name(path.name + suffix).read_bytes() for path in (uninterrupted, killed)
            ]
            assert pair[0] == pair[1], f"{name}: another {suffix or 'checkpoint'}"
        report[name].append(n_rollouts(uninterrupted))
    print(json.dumps(report))


def train(root: Path, file: Path, name: str, kill_at: int = 0, half_written: bool = False) -> None:
    """Train, from the checkpoint on if there is one, and leave what came of it."""
    if kill_at:
        kill_at_checkpoint(checkpoint, kill_at, half_written=half_written)
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


def n_rollouts(file: Path) -> int:
    """Return how many rollouts a checkpoint is after."""
    return int(read_checkpoint(file)[0]["counters"]["n_rollouts"])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
