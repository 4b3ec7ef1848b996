"""``focusgym fit`` killed, interrupted and resumed, in the way of others, in two processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from torch.distributed.run import parse_args
from verbs import Digits, refused, run_fit

from focusgym.feature_cache import VideoSamples
from focusgym.recognizer import read_bundle

FOCUSGYM = Path(sys.executable).with_name("focusgym")
ALONE = {**os.environ, "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}


def command(out: Path, digits: Digits, encoders: Path, *more: object) -> list[str]:
    """Stage I on pixels, of f_L and f_C."""
    networks = ("--glance-encoder", encoders / "glance", "--local-encoder", encoders / "local")
    sizes = ("--patch", 28, "--grid", 3, "--hidden", 8, "--batch-size", 5)
    rates = ("--lr-local", 0.5, "--lr-classifier", 2)
    given = ("patches", out, *digits.options, *networks, *sizes, *rates, *more)
    return [str(each) for each in given]


def contents(folder: Path) -> dict[str, bytes]:
    """Everything in a folder, by path."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_a_killed_training_goes_on_to_the_same_bytes(
    tmp_path: Path, digits: Digits, encoders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    epochs = ("--epochs", 20)
    run_fit(*command(tmp_path / "whole", digits, encoders, *epochs))
    out, partial = tmp_path / "killed", tmp_path / "killed.partial"
    arguments = command(out, digits, encoders, *epochs)
    begun = subprocess.Popen([FOCUSGYM, "fit", *arguments], env=ALONE)
    try:
        for _ in range(3000):
            if (partial / "checkpoint.safetensors").exists() or begun.poll() is not None:
                break
            time.sleep(0.02)
    finally:
        begun.kill()
    assert begun.wait() == -signal.SIGKILL, "it was killed in the midst"
    assert not out.exists()
    before = contents(partial)
    for more, differs in (
        (("--seed", 1), "seed[0]: expected 1, got 0"),
        (("--epochs", 3), "settings.epochs: expected 3, got 20"),
        (("--steps", 1), "videos.frames.steps: expected 1, got 2"),
        (("--no-augment",), "videos.augment: expected None, got {'views': 1, 'flip': True, 'seed"),
        (("--skip-rate", 0.5), "skip_rate: expected 0.5, got 0.0"),
        (("--patch", 30), "grid.patch_px: expected 30, got 28"),
        (("--local-encoder", encoders / "glance"), "local.name: expected 'small_glance', got 'sma"),
        (("--hidden", 9), "classifier.hidden: expected 9, got 8"),
    ):
        said = refused(capsys, *arguments, *more)
        assert differs in said
        assert f"{partial} was begun with other settings (" in said
    assert contents(partial) == before, "nothing was touched"
    run_fit(*arguments)
    assert not partial.exists()
    assert contents(out) == contents(tmp_path / "whole")
    metrics = read_bundle(out / "classifier", "classifier").metrics
    assert metrics["epoch"] > 1


def test_what_is_there_is_left_alone(
    tmp_path: Path, digits: Digits, encoders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, partial = tmp_path / "out", tmp_path / "out.partial"
    arguments = command(out, digits, encoders, "--epochs", 1)
    partial.mkdir()
    (partial / "mine.txt").write_text("precious")
    assert "it holds files of something else; nothing was touched" in refused(capsys, *arguments)
    assert contents(tmp_path) == {"out.partial/mine.txt": b"precious"}
    shutil.rmtree(partial)
    out.mkdir()
    (out / "mine.txt").write_text("precious")
    assert f"{out} exists: nothing was touched; give another" in refused(capsys, *arguments)
    (out / "mine.txt").rename(tmp_path / "file")
    out.rmdir()
    out.symlink_to("nowhere")
    assert f"{out} exists" in refused(capsys, *arguments)
    out.unlink()
    inside = command(tmp_path / "file" / "out", digits, encoders)
    assert "file/out cannot be written ([Errno 20] Not a directory" in refused(capsys, *inside)
    assert contents(tmp_path) == {"file": b"precious"}
    partial.mkdir()  # killed while it wrote down what it begins
    (partial / "begun.json").write_text('{"settings": {"epo')
    run_fit(*arguments)
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["file", "out"]


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
    for most, left in ((0, []), (3, ["begun.json", "checkpoint.safetensors"])):
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
    assert contents(out) == contents(tmp_path / "whole")


@dataclass
class Ran:
    """What two processes said in each command, and the exit statuses of both."""

    folder: Path
    out: dict[str, str]
    err: dict[str, str]
    status: list[dict[str, int]]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, digits: Digits, encoders: Path) -> Ran:
    """Two processes, which train; and which find that something is in the way, or a bad video."""
    folder = tmp_path_factory.mktemp("two")
    broken = folder / "digits"
    shutil.copytree(digits.options[1], broken)
    (broken / "again" / "3.mp4").write_text("no video")  # process 1 validates on rows 1, 3, …
    elsewhere = [each.replace(digits.options[1], str(broken)) for each in digits.options]
    commands = {
        "trained": command(folder / "two", digits, encoders, *TOGETHER),
        "in the way": command(folder / "digits", digits, encoders, *TOGETHER),
        "bad video": command(folder / "bad", replace(digits, options=elsewhere), encoders),
    }
    (folder / "commands.json").write_text(json.dumps(commands))
    logs, script = folder / "logs", Path(__file__).with_name("fits_in_turn.py")
    two = ("--standalone", "--nproc-per-node=2", f"--log-dir={logs}", "--redirects=3")
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", *two, str(script), str(folder)],
        env=ALONE,
        capture_output=True,
        text=True,
        timeout=300,
    )
    said = {name: [*logs.rglob(f"{name}.log")] for name in ("stdout", "stderr")}
    texts = {name: [path.read_text() for path in sorted(each)] for name, each in said.items()}
    assert done.returncode == 0, (done.stderr, texts)
    parts = [
        {
            name: "".join(text.split(f"[{name}]\n")[1].split("\n[")[0] for text in found)
            for name in commands
        }
        for found in texts.values()
    ]
    status = [json.loads((folder / f"status.{rank}").read_text()) for rank in (0, 1)]
    return Ran(folder, *parts, status)


# Batches of five and two are shared unevenly.
TOGETHER = ("--epochs", 3, "--freeze-batch-norm", "--dropout", 0.3)


def test_two_processes_are_one(ran: Ran, tmp_path: Path, digits: Digits, encoders: Path) -> None:
    assert [each["trained"] for each in ran.status] == [0, 0]
    said = ran.out["trained"]
    assert said.count("learning rates times 0.078125: local 0.0390625, classifier") == 1
    assert said.count("right on the validation videos") == 1
    assert not (ran.folder / "two.partial").exists()
    run_fit(*command(tmp_path / "one", digits, encoders, *TOGETHER))
    for name, kind in (("local", "encoder"), ("classifier", "classifier")):
        one, two = (read_bundle(n / name, kind) for n in (tmp_path / "one", ran.folder / "two"))
        assert two.metrics["epoch"] == one.metrics["epoch"] > 0
        assert two.metrics["val_accuracy"] == one.metrics["val_accuracy"]
        assert two.metrics["val_loss"] == pytest.approx(one.metrics["val_loss"], rel=1e-5)
        start = read_bundle(encoders / "local", "encoder").weights
        for key, value in one.weights.items():
            assert float((two.weights[key].float() - value.float()).abs().max()) < 1e-5, key
            if name == "local" and key.endswith("0.weight"):
                assert float((start[key] - value).abs().max()) > 1e-3, key


@pytest.mark.parametrize(
    ("case", "text"),
    [
        ("in the way", "digits exists: nothing was touched; give another folder, or remove it"),
        ("bad video", "digits/again/3.mp4 cannot be decoded"),  # while the other waits
    ],
)
def test_several_processes_tell_an_error_once(case: str, text: str, ran: Ran) -> None:
    assert [each[case] for each in ran.status] == [2, 2]
    said = [line for line in ran.err[case].splitlines() if line.startswith("focusgym: ")]
    assert len(said) == 1
    assert text in said[0]
    assert "Traceback" not in ran.err[case]
    assert not list(ran.folder.glob("bad*"))
    assert (ran.folder / "digits" / "train.txt").is_file()


def test_torchrun_leaves_our_options_alone(digits: Digits, encoders: Path) -> None:
    """It takes what could be an abbreviation of its own, though it stands behind the command."""
    arguments = command(Path("out"), digits, encoders, *TOGETHER, "--device", "cpu", "--seed", 1)
    found = parse_args(["--no-python", "--nproc-per-node=2", "focusgym", "fit", *arguments])
    assert found.training_script == "focusgym"
    assert found.training_script_args == ["fit", *arguments]
