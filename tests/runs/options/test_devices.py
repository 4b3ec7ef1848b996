"""``--device``: what it may be, who takes it, and what it does not decide."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from focusgym.feature_cache import FeatureCache
from focusgym.runs.cli import main
from focusgym.runs.options.devices import device_of
from focusgym.runs.options.parse import UsageError

SMALL = ("--n-envs=6", "--minibatch=3", "--conv-channels=2", "--hidden=6", "--epochs=1")


def gpus(monkeypatch: pytest.MonkeyPatch, n: int) -> None:
    """Let torch find n of them."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: n > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: n)


def test_what_a_device_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus(monkeypatch, 2)
    devices = {option: device_of(option) for option in ("auto", "cpu", "cuda", "cuda:0", "cuda:1")}
    assert devices.pop("auto") == "cuda"
    assert all(option == device for option, device in devices.items())
    with pytest.raises(UsageError, match="--device cuda:2: torch finds no such device here; there"):
        device_of("cuda:2")
    for option in ("gpu", "cuda:", "cuda:x", "mps", ""):
        with pytest.raises(UsageError, match=f"must be auto, cpu, cuda, or cuda:N .*'{option}'"):
            device_of(option)
    gpus(monkeypatch, 0)
    assert device_of("auto") == device_of("cpu") == "cpu"


@pytest.mark.parametrize(
    "args",
    [
        ("train", "OUT"),
        ("evaluate", "RUN"),
        ("compare", "OUT"),
        ("replay", "OUT"),
        ("recognize", "a.mp4"),
        ("fit", "classifier", "OUT", "--cache", "CACHE"),
        ("cache", "build", "OUT", "--videos", "V"),
    ],
)
def test_what_torch_does_not_find_is_refused_first(
    args: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Before a file is looked for: here there is none."""
    gpus(monkeypatch, 0)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as caught:
        main([*args, "--device", "cuda:1"])
    assert caught.value.code == 2
    assert capsys.readouterr().err == (
        "focusgym: --device cuda:1: torch finds no CUDA device here; give --device cpu\n"
    )
    assert not [*tmp_path.iterdir()]


def test_all_that_is_played_is_on_the_device(
    classifier_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Under another name of the CPU, by which it is seen that nothing is left elsewhere."""
    root, opened = classifier_path.parent, list[str]()

    def noted(self: FeatureCache, *arguments: Any) -> None:
        opened.append(arguments[3])
        made(self, *arguments)

    made = FeatureCache.__init__
    monkeypatch.setattr(FeatureCache, "__init__", noted)
    for module in ("training.policy_run", "evaluation.policy_candidate", "replays.cached_pair"):
        monkeypatch.setattr(f"focusgym.runs.{module}.device_of", lambda option: f"{option}:0")
    run = str(root / "run")
    main(["train", run, f"--cache={root}/cache", *SMALL, "--json"])
    assert opened[0] == "cpu", "where only sizes and labels are read"
    assert set(opened[1:]) <= {"cpu", "cpu:0"}
    assert "cpu:0" in opened
    opened.clear()
    main(["evaluate", run, "--json", "--oracle"])
    assert opened == ["cpu:0"]
    assert json.loads((root / "run" / "run.json").read_text())["devices"] == ["cpu:0"]
    capsys.readouterr()


def test_a_run_goes_on_elsewhere(classifier_path: Path) -> None:
    """Where it computes is written down, and is none of its settings."""
    root = classifier_path.parent
    run = root / "run"
    main(["train", str(run), f"--cache={root}/cache", *SMALL])
    before = (run / "policy" / "weights.safetensors").read_bytes()
    for name in ("results.json", "played.npz"):
        (run / name).unlink()
    shutil.rmtree(run / "policy")
    main(["train", str(run), "--resume", "--device=auto"])
    record = json.loads((run / "run.json").read_text())
    assert len(record["devices"]) == len(record["commands"]) == 2
    assert record["devices"][0] == "cpu"
    if not torch.cuda.is_available():
        assert record["devices"][1] == "cpu"
        assert (run / "policy" / "weights.safetensors").read_bytes() == before


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device here")
def test_a_gpu_gives_the_same_figures(
    classifier_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = classifier_path.parent
    main(["train", str(root / "run"), f"--cache={root}/cache", *SMALL, "--plus", "--device=cuda"])
    rows = []
    for device in ("cpu", "cuda", "auto"):
        capsys.readouterr()
        main(["evaluate", str(root / "run"), "--oracle", "--json", f"--device={device}"])
        rows.append(json.loads(capsys.readouterr().out)["policies"])
    for row in rows[1:]:
        assert [each["name"] for each in row] == [each["name"] for each in rows[0]]
        for one, other in zip(row, rows[0], strict=True):
            assert one["accuracy"] == pytest.approx(other["accuracy"], abs=0.1)
