"""``focusgym fit`` killed, interrupted and resumed, in the way of others, in two processes."""

from __future__ import annotations

import json
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from kills import Ended, in_children, in_two_processes, kill_at_checkpoint
from torch.distributed.run import parse_args
from verbs import Digits, contents, refused, run_fit

from focusgym.feature_cache import VideoSamples
from focusgym.recognizer import read_bundle
from focusgym.recognizer.stages import progress
from focusgym.runs.training import stages

BEGUN = [".lock", "checkpoint.safetensors", "config.yaml", "run.json"]
EPOCHS = ("--epochs", 4)
# Batches of five and two are shared unevenly.
TOGETHER = ("--epochs", 3, "--freeze-batch-norm", "--dropout", 0.3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the processes work, each command in a folder of its own."""
    return tmp_path_factory.mktemp("processes")


@pytest.fixture(scope="module")
def ended(folder: Path, digits: Digits, encoders: Path) -> dict[str, Ended]:
    """Run the verb: killed, in two processes, and in two of which one reads a damaged video."""
    videos = folder / "digits"
    shutil.copytree(digits.options[1], videos)
    (videos / "again" / "3.mp4").write_text("no video")  # process 1 validates on rows 1, 3, …
    elsewhere = tuple(each.replace(digits.options[1], str(videos)) for each in digits.options)
    moved = replace(digits, options=elsewhere)
    outs = {name: folder / name / "out" for name in ("killed", "two", "damaged")}
    for out in outs.values():
        out.parent.mkdir()
    two = command(outs["two"], digits, encoders, *TOGETHER)
    damaged = command(outs["damaged"], moved, encoders, "--epochs", 1)

    def killed() -> None:  # as soon as its first checkpoint is there: of the first epoch
        kill_at_checkpoint(progress, 1, half_written=False)
        run_fit(*command(outs["killed"], digits, encoders, *EPOCHS))

    return {
        "killed": in_children(killed),
        "two": in_two_processes(lambda: run_fit(*two)),
        "damaged": in_two_processes(lambda: run_fit(*damaged)),
    }


def command(out: Path, digits: Digits, encoders: Path, *more: object) -> list[str]:
    """Stage I on pixels, of f_L and f_C."""
    networks = ("--glance-encoder", encoders / "glance", "--local-encoder", encoders / "local")
    sizes = ("--patch", 28, "--grid", 3, "--hidden", 8, "--batch-size", 5)
    rates = ("--lr-local", 0.5, "--lr-classifier", 2)
    arguments = ("patches", out, *digits.options, *networks, *sizes, *rates, *more)
    return [str(each) for each in arguments]


def networks(folder: Path) -> dict[str, bytes]:
    """Everything in a folder but for what tells how it was made."""
    every = contents(folder)
    return {name: every[name] for name in every if name not in ("config.yaml", "run.json")}


def test_a_killed_training_goes_on_to_the_same_bytes(
    tmp_path: Path,
    digits: Digits,
    encoders: Path,
    folder: Path,
    ended: dict[str, Ended],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert ended["killed"].codes == [-signal.SIGKILL], ended["killed"].err
    out, partial = folder / "killed" / "out", folder / "killed" / "out.partial"
    arguments = command(out, digits, encoders, *EPOCHS)
    assert (partial / "checkpoint.safetensors").exists()
    run_fit(*command(tmp_path / "whole", digits, encoders, *EPOCHS))
    assert not out.exists()
    before = contents(partial)
    for more, differs in (
        (("--seed", 1), "settings (seed was 0, is 1)"),
        (("--epochs", 3), "settings (epochs was 4, is 3)"),
        (("--steps", 1), "settings (steps was 2, is 1)"),
        (("--no-augment",), "settings (augment was True, is False)"),
        (("--skip-rate", 0.5), "settings (skip-rate was 0.0, is 0.5)"),
        (("--patch", 30), "settings (patch was 28, is 30)"),
        (("--hidden", 9), "settings (hidden was 8, is 9)"),
    ):
        assert f"{partial} was begun with other {differs}" in refused(capsys, *arguments, *more)
    other = ("--local-encoder", encoders / "glance")
    message = refused(capsys, *arguments, *other)
    assert f"{partial} was begun on other data (local-encoder in {other[1]} had the fing" in message
    assert contents(partial) == before, "nothing was touched"
    moved = tmp_path / "moved"
    shutil.copytree(encoders, moved)
    run_fit(*command(out, digits, moved, *EPOCHS))  # where encoders are may change
    assert not partial.exists()
    assert networks(out) == networks(tmp_path / "whole")
    record = json.loads((out / "run.json").read_text())
    assert len(record["commands"]) == 2
    assert record["folder"] == str(out.resolve())
    metrics = read_bundle(out / "classifier", "classifier").metrics
    assert metrics["epoch"] > 0, "something was learned"
    # Killed after its result has appeared, or while what is left beside it is removed.
    capsys.readouterr()
    before, again = contents(out), command(out, digits, moved, *EPOCHS)
    for left in (["checkpoint.safetensors"], []):
        partial.mkdir()
        shutil.copy(out / "run.json", partial)
        for name in left:
            (partial / name).write_text("of the last epoch")
        message = refused(capsys, *again, "--seed", 1)
        assert f"{out} was begun with other settings (seed was 0, is 1)" in message
        run_fit(*again)
        assert f"{out}: epoch {metrics['epoch']:.0f} of the training; " in capsys.readouterr().out
        assert not partial.exists()
        assert contents(out) == before
    assert f"{out} exists" in refused(capsys, *arguments)


def test_what_is_there_is_left_alone(
    tmp_path: Path, digits: Digits, encoders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, partial = tmp_path / "out", tmp_path / "out.partial"
    arguments = command(out, digits, encoders, "--epochs", 1)
    partial.mkdir()
    (partial / "mine.txt").write_text("precious")
    assert f"{partial} exists: nothing was touched; give another" in refused(capsys, *arguments)
    assert contents(tmp_path) == {"out.partial/mine.txt": b"precious"}
    shutil.rmtree(partial)
    out.mkdir()
    (out / "mine.txt").write_text("precious")
    assert f"{out} exists: nothing was touched; give another" in refused(capsys, *arguments)
    (out / "mine.txt").rename(tmp_path / "file")
    out.rmdir()
    out.symlink_to("nowhere")
    assert f"{out} is a link to nowhere" in refused(capsys, *arguments)
    out.unlink()
    inside = command(tmp_path / "file" / "out", digits, encoders)
    assert "file/out cannot be written (Not a directory" in refused(capsys, *inside)
    assert contents(tmp_path) == {"file": b"precious"}


def test_an_interruption_is_one_line_and_leaves_what_is_complete(
    tmp_path: Path,
    digits: Digits,
    encoders: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Before the first epoch nothing is; the second one is interrupted."""
    out, partial = tmp_path / "out", tmp_path / "out.partial"
    arguments = command(out, digits, encoders, "--epochs", 3)
    real = VideoSamples.batches
    # Validation first, then training and validation in turn: in the second epoch's training.
    for most, left in ((0, []), (3, BEGUN)):
        begun: list[int] = []

        def interrupted(
            self: VideoSamples, epoch: int, rows: Any, most: int = most, begun: list[int] = begun
        ) -> Any:
            if len(begun) == most:
                raise KeyboardInterrupt
            begun.append(epoch)
            return real(self, epoch, rows)

        monkeypatch.setattr(VideoSamples, "batches", interrupted)
        with pytest.raises(SystemExit) as caught:
            run_fit(*arguments)
        assert caught.value.code == 130
        assert "the same command goes on after what is complete" in capsys.readouterr().err
        assert sorted(contents(partial) if left else contents(tmp_path)) == left
    monkeypatch.undo()
    run_fit(*arguments)
    run_fit(*command(tmp_path / "whole", digits, encoders, "--epochs", 3))
    assert networks(out) == networks(tmp_path / "whole")


def test_two_processes_are_one(
    tmp_path: Path, digits: Digits, encoders: Path, folder: Path, ended: dict[str, Ended]
) -> None:
    ran, out = ended["two"], folder / "two" / "out"
    assert ran.codes == [0, 0], ran.err
    assert ran.out.count("learning rates times 0.078125: local 0.0390625, classifier") == 1
    assert ran.out.count("right on the validation videos") == 1
    run_fit(*command(tmp_path / "one", digits, encoders, *TOGETHER))
    for name, kind in (("local", "encoder"), ("classifier", "classifier")):
        one, two = (read_bundle(each / name, kind) for each in (tmp_path / "one", out))
        assert two.metrics["epoch"] == one.metrics["epoch"] > 0
        assert two.metrics["val_accuracy"] == one.metrics["val_accuracy"]
        assert two.metrics["val_loss"] == pytest.approx(one.metrics["val_loss"], rel=1e-5)
        start = read_bundle(encoders / "local", "encoder").weights
        for key, value in one.weights.items():
            assert float((two.weights[key].float() - value.float()).abs().max()) < 1e-5, key
            if name == "local" and key.endswith("0.weight"):
                assert float((start[key] - value).abs().max()) > 1e-3, key
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def test_several_processes_tell_an_error_once(folder: Path, ended: dict[str, Ended]) -> None:
    """Of a video that one of them reads, while the other waits for it."""
    codes, _, stderr = ended["damaged"]
    assert codes == [2, 2], stderr
    errors = [line for line in stderr.splitlines() if line.startswith("focusgym: ")]
    assert len(errors) == 1
    assert f"{folder}/digits/again/3.mp4 cannot be decoded" in errors[0]
    assert "Traceback" not in stderr
    assert not any((folder / "damaged").iterdir())


def test_one_process_at_a_time(
    tmp_path: Path,
    digits: Digits,
    encoders: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = command(tmp_path / "out", digits, encoders, "--epochs", 1)
    real, messages = stages.fit, []

    def fit_twice(*args: Any, **keywords: Any) -> Any:
        messages.append(refused(capsys, *arguments))
        return real(*args, **keywords)

    monkeypatch.setattr(stages, "fit", fit_twice)
    run_fit(*arguments)
    busy = "another process is at it: wait for it, or stop it"
    assert messages == [f"focusgym: {tmp_path / 'out.partial'}: {busy}"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_torchrun_leaves_our_options_alone(digits: Digits, encoders: Path) -> None:
    """It takes what could be an abbreviation of its own, though it stands behind the command."""
    arguments = command(Path("out"), digits, encoders, *TOGETHER, "--device", "cpu", "--seed", 1)
    parsed = parse_args(["--no-python", "--nproc-per-node=2", "focusgym", "fit", *arguments])
    assert parsed.training_script == "focusgym"
    assert parsed.training_script_args == ["fit", *arguments]
