"""Options of ``fit end-to-end`` that have to agree."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from end_to_end_runs import command

from focusgym.recognizer import PolicyConfig, build_policy
from focusgym.recognizer.stages.samples import shuffled
from focusgym.runs.cli import _parse
from focusgym.runs.options.end_to_end import check_batches
from focusgym.runs.options.parse import UsageError


def test_a_batch_of_one_frame_is_refused(tmp_path: Path) -> None:
    """Where one of the batches of an epoch has one video, and nowhere else."""
    policy = build_policy(PolicyConfig(4, 4, 2, 1, 3, 6, network="centers"))
    for n in range(1, 10):
        for size in range(1, 6):
            sizes = [len(rows) for rows in shuffled(n, size, [0])]
            given = command(tmp_path, tmp_path, "--steps", 1, "--batch-size", size)
            config = _parse(["fit", *given]).verb
            fails = []
            for length in sizes:
                try:
                    policy.train().choose(torch.randn(length, 1, 4, 4, 2))
                except ValueError:
                    fails.append(length)
            if fails:
                with pytest.raises(UsageError, match="--batch-size"):
                    check_batches(config, n, policy)
            else:
                check_batches(config, n, policy)
    for more in (("--steps", 2), ("--steps", 1, "--freeze-batch-norm")):
        config = _parse(["fit", *command(tmp_path, tmp_path, "--batch-size", 1, *more)]).verb
        check_batches(config, 3, policy)
    check_batches(config, 3, None)
