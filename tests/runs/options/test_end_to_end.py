"""Options of ``fit end-to-end`` that have to agree."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from end_to_end_runs import command, cubes_command
from verbs import refused

from focusgym.recognizer import PolicyConfig, build_policy
from focusgym.recognizer.stages.samples import shuffled
from focusgym.runs.cli import _parse
from focusgym.runs.options.end_to_end import check_batches
from focusgym.runs.options.parse import UsageError


def test_boxes_without_a_policy_have_none_of_its_options(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for more, message in (
        (
            ("--boxes", "random", "--policy-hidden", 7),
            "--policy-hidden: of a policy, and --boxes random has none: expected what the preset "
            "digits_v2 says, 128; got 7: leave the option out",
        ),
        (("--boxes", "central", "--no-diversity"), "--no-diversity: of a policy, and --boxes cent"),
        (("--boxes", "central", "--lr-policy", 0.1), "--lr-policy: of a policy, and --boxes centr"),
    ):
        assert message in refused(capsys, *command(tmp_path / "out", tmp_path, *more)), more
    random = ("--time", "random", "--space", "uniform")
    for option, value in (("policy-hidden", 7), ("gradient", "pixel")):
        arguments = cubes_command(tmp_path / "out", tmp_path, *random, f"--{option}", value)
        message = f"--{option}: of a policy, and --time random --space uniform has none: expected"
        assert message in refused(capsys, *arguments), option
    assert not [*tmp_path.iterdir()]


def test_a_batch_of_one_frame_is_refused(tmp_path: Path) -> None:
    """Where one of the batches of an epoch has one video, and nowhere else."""
    policy = build_policy(PolicyConfig(4, 4, 2, 1, 3, 6, network="centers"))
    for n in range(1, 10):
        for size in range(1, 6):
            sizes = [len(rows) for rows in shuffled(n, size, [0])]
            arguments = command(tmp_path, tmp_path, "--steps", 1, "--batch-size", size)
            config = _parse(["fit", *arguments]).verb
            fails = []
            for length in sizes:
                try:
                    policy.train().choose(torch.randn(length, 1, 4, 4, 2))
                except ValueError:
                    fails.append(length)
            if fails:
                with pytest.raises(UsageError, match="--batch-size"):
                    check_batches(config.training, n, config.frames.steps, policy)
            else:
                check_batches(config.training, n, config.frames.steps, policy)
    for more in (("--steps", 2), ("--steps", 1, "--freeze-batch-norm")):
        config = _parse(["fit", *command(tmp_path, tmp_path, "--batch-size", 1, *more)]).verb
        check_batches(config.training, 3, config.frames.steps, policy)
    check_batches(config.training, 3, 1, None)
