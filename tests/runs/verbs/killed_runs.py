"""Runs that kill themselves at their steps; run by test_train.py in a process of its own."""

from __future__ import annotations

import json
import signal
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import scipy.stats  # noqa: F401
import torch.utils.tensorboard  # noqa: F401 - these once, not in every child
from kills import in_a_child, kill_at_checkpoint, kill_now

from focusgym.agents.checkpoints import checkpoint
from focusgym.runs.configs.train import PolicyTrainingConfig, SkipConfig, TrainConfig
from focusgym.runs.folders.run_folder import is_run
from focusgym.runs.training import policy_run as train

POLICY = PolicyTrainingConfig(3, n_envs=6, minibatch=3, conv_channels=2, hidden=6, threads=1)
RUNS = {"plus": (replace(POLICY, validations=2), SkipConfig(plus=True))}
SAME = ("results.json", "played.npz", "policy/weights.safetensors", "policy/bundle.json")
# A checkpoint by its number from where the run went on; negative: in the midst of its write.
# Or a function of the verb, which is not reached.
KILLS: dict[str, tuple[int | str, ...]] = {
    "plus": (2, -2, "play", "write_policy", "write_whole"),
}


def main(root: Path) -> None:
    """Kill each run at all moments; print what its folder held then."""
    report: dict[str, list[list[str]]] = {}
    for name in RUNS:
        uninterrupted, killed = root / "whole" / name, root / "killed" / name
        assert in_a_child(partial(run, root, uninterrupted)) == 0
        report[name] = []
        for moment in KILLS[name]:
            ended = in_a_child(partial(run, root, killed, moment))
            assert ended == -signal.SIGKILL, f"{name}: the run failed, or was not killed"
            report[name].append(sorted(each.name for each in killed.glob("*")))
        assert in_a_child(partial(run, root, killed)) == 0
        for file in SAME:
            assert (uninterrupted / file).read_bytes() == (killed / file).read_bytes(), (name, file)
        assert train.learning_curve(uninterrupted).equals(train.learning_curve(killed)), name
        assert {each.name for each in uninterrupted.glob("*")} == {
            each.name for each in killed.glob("*")
        }
    print(json.dumps(report))


def run(root: Path, out: Path, moment: int | str | None = None) -> None:
    """Begin a run, or go on with it, and die at the moment."""
    if isinstance(moment, int):
        kill_at_checkpoint(checkpoint, abs(moment), half_written=moment < 0)
    elif moment is not None:
        setattr(train, moment, lambda *_: kill_now())
    files: tuple[Any, ...] = (root / "cache", root / "classifier")
    config = TrainConfig(out, *RUNS[out.name], *files, resume=is_run(out))
    train.run_training(config, checkpoint_s=0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
