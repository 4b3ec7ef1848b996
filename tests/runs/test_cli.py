"""The command line: what a user's mistakes look like."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from torchvision.models import mobilenet_v2

import focusgym
from focusgym.runs.cli import main


def fails_with(capsys: pytest.CaptureFixture[str], *args: str | Path) -> str:
    with pytest.raises(SystemExit) as caught:
        main(["quickstart", *map(str, args)])
    assert caught.value.code == 2
    return capsys.readouterr().err


def test_wrong_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--videos and --weights go together" in fails_with(capsys, "--videos", tmp_path)
    missing = fails_with(capsys, "--videos", tmp_path, "--weights", tmp_path / "w.pth")
    assert f"--weights: no such file: {tmp_path / 'w.pth'}" in missing
    assert "--preset is of your clips: give" in fails_with(capsys, "--preset", "clips_sharp")
    weights = tmp_path / "w.pth"
    weights.write_text("no weights")
    arguments = ("--videos", tmp_path, "--weights", weights)
    assert "--preset tsn: expected one option group, of patches" in fails_with(
        capsys, *arguments, "--preset", "tsn"
    )
    nowhere = fails_with(capsys, "--videos", tmp_path / "x", "--weights", weights)
    assert "is not a folder: give the folder that holds your videos" in nowhere
    for seed in ("-1", str(2**32)):
        assert f"--seed must be in 0..4294967295; got {seed}" in fails_with(capsys, "--seed", seed)
    assert "invalid" in fails_with(capsys, "--seed", "one").lower()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (
            ("trian", "out"),
            "there is no `focusgym trian`: did you mean `focusgym train`? The verbs",
        ),
        (("cahe", "build"), "there is no `focusgym cahe`: did you mean `focusgym cache`? "),
        (("build", "out"), "there is no `focusgym build`: did you mean `focusgym cache build`? "),
        (("cache", "verfy"), "there is no `focusgym cache verfy`: did you mean `focusgym cache ve"),
        (("xyz",), "there is no `focusgym xyz`: the verbs are quickstart, data, cache, fit, "),
        (("--seed", "1"), "`focusgym` has no option --seed: first give one of quickstart, data, "),
        (("train", "--out", "x"), "`focusgym train` takes out without an option's name: leave --o"),
    ],
)
def test_verbs_that_there_are_not(
    args: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(args)
    assert caught.value.code == 2
    stderr = capsys.readouterr().err
    assert stderr.startswith(f"focusgym: {message}")
    assert stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("args", "first", "listed"),
    [
        (("train", "o", "--epoch=3"), "--epoch: did you mean --epochs?", "--epochs, --update-epo"),
        (("train", "o", "--no-lr_decy"), "--no-lr-decy: did you mean --lr-decay?", "--lr-decay, "),
        (("recognize", "a.mp4", "--tpo", "2"), "--tpo: did you mean --top?", "--top, "),
        (("cache", "build", "o", "--qqq", "--views", "2"), "--qqq", "--"),
    ],
)
def test_options_that_there_are_not(
    args: tuple[str, ...],
    first: str,
    listed: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as caught:
        main(args)
    assert caught.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    verb = "cache build" if args[0] == "cache" else args[0]
    assert lines[0] == f"focusgym: `focusgym {verb}` has no option {first}"
    assert lines[1].startswith(f"Its options, nearest first: {listed}")
    assert len(lines) <= 5
    assert max(map(len, lines[1:])) <= 80
    assert lines[-1] == f"`focusgym {verb} --help` tells what they do."


def test_weights_that_are_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b"):
        for i in range(3):
            (tmp_path / "clips" / name).mkdir(parents=True, exist_ok=True)
            (tmp_path / "clips" / name / f"{i}.mp4").write_text("not empty")
    weights = tmp_path / "w.pth"

    def message() -> str:
        out = tmp_path / "out"
        clips = tmp_path / "clips"
        return fails_with(capsys, "--videos", clips, "--weights", weights, "--out", out)

    weights.write_text("no weights")
    assert "is not a state dict that can be loaded safely" in message()
    torch.save({"model": {"x": torch.zeros(1)}}, weights)
    assert "unexpected x: give the state dict of this network" in message()
    torch.save([1, 2], weights)
    assert "holds a list, expected a state dict of tensors" in message()
    torch.save({"features.0.0.weight": torch.zeros(32, 3, 3, 3)}, weights)
    assert "the weights do not fit mobilenet_v2: missing features.0.1.weight" in message()
    torch.save({0: torch.zeros(1)}, weights)
    assert "expected a state dict of tensors" in message()
    torch.save(mobilenet_v2(weights=None, width_mult=0.5).state_dict(), weights)
    assert "0.0.weight is (16, 3, 3, 3), expected (32, 3, 3, 3)" in message()
    for seed in range(4):  # any bytes are refused with a message
        weights.write_bytes(random.Random(seed).randbytes(200))
        assert "is not a state dict that can be loaded safely" in message()
    torch.save(torch.nn.Linear(1, 1), weights)  # a pickled module could run code
    assert "is not a state dict that can be loaded safely" in message()


def test_nothing_of_the_users_is_touched(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine.txt").write_text("precious")
    exists = "exists: nothing was touched; give another folder"
    assert f"{tmp_path} {exists}" in fails_with(capsys, "--out", tmp_path)
    assert (tmp_path / "data" / "mine.txt").read_text() == "precious"
    file = tmp_path / "data" / "mine.txt"
    assert f"{file} {exists}" in fails_with(capsys, "--out", file)


def test_a_quickstart_takes_over_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No run of another verb, no quickstart of another seed: other runs refer to their files."""
    record = {"commands": ["focusgym"], "devices": ["cpu"], "fingerprints": {}}
    (tmp_path / "run.json").write_text(json.dumps(record))
    (tmp_path / "results.json").write_text("{}")
    settings = {"seed": 0, "out": "x", "videos": None, "weights": None}
    for section, message in (
        ("train", "is a run of `focusgym train`, not of `focusgym quickstart`: give another"),
        ("quickstart", "was begun with other settings (seed was 0, is 1): go on with those it was"),
    ):
        (tmp_path / "config.yaml").write_text(yaml.safe_dump({section: settings}))
        assert f"{tmp_path} {message}" in fails_with(capsys, "--out", tmp_path, "--seed", "1")
        assert json.loads((tmp_path / "run.json").read_text()) == record
        assert (tmp_path / "results.json").exists()


def test_an_interruption_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(config: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("focusgym.runs.verbs.quickstart.quickstart", interrupted)
    with pytest.raises(SystemExit) as caught:
        main(["quickstart"])
    assert caught.value.code == 130
    assert "the same command goes on after what is complete" in capsys.readouterr().err


def test_an_interruption_that_keeps_nothing_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(config: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("focusgym.runs.verbs.evaluate.evaluate", interrupted)
    with pytest.raises(SystemExit) as caught:
        main(["evaluate", "run"])
    assert caught.value.code == 130
    assert "interrupted; nothing that was not finished is kept" in capsys.readouterr().err


def test_help_and_mistakes_on_the_command_line_need_no_torch() -> None:
    """In one process: who asks for help, or mistypes an option, does not wait for imports."""
    verbs = (
        *(
            (),
            ("quickstart",),
            ("data", "digit-pairs"),
            ("cache", "build"),
            ("fit",),
            ("fit", "encoder"),
        ),
        *(("fit", "patches"), ("fit", "classifier"), ("train",), ("evaluate",), ("compare",)),
        *(("replay",), ("recognize",), ("import-checkpoint",)),
    )
    wrong = (
        *("train o --seed -1", "train o --patch x", "train o --epochs x", "train o --threads 0"),
        *("train o --preset nope", "recognize", "recognize a.mp4 --top 0", "evaluate"),
        *("quickstart --videos x", "cache verify o --sample -1", "compare o --keep-ratios 0.5 0"),
        *(
            "fit classifier o --cache c --skip-rate 1",
            "replay o --count 0",
            "data digits o --n-val 0",
        ),
    )
    code = f"""
import sys
from focusgym.runs.cli import main
for verb in {verbs!r}:
    for option in ("--help", "--wrong-option"):
        try:
            main([*verb, option])
        except SystemExit as error:
            assert error.code == (2 if option == "--wrong-option" else 0), (verb, error.code)
for args in {wrong!r}:
    try:
        main(args.split())
    except SystemExit as error:
        assert error.code == 2, (args, error.code)
try:
    main(["--version"])
except SystemExit as error:
    assert not error.code
heavy = ("torch", "torchvision", "numpy", "pandas", "decord", "gymnasium", "stable_baselines3")
print("imported:", [name for name in heavy if name in sys.modules])
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.endswith(f"focusgym {focusgym.__version__}\nimported: []\n")
    assert ran.stderr.count("focusgym: ") == len(verbs) + len(wrong) - 1, (
        "tyro says what is no number"
    )
    for verb in verbs:
        assert f"usage: {' '.join(('focusgym', *verb))} [-h]" in ran.stdout
