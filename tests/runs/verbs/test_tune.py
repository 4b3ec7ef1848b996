"""``focusgym tune``: spaces, what is proposed, trials that are kept, and the best on val."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from support import write_cache, write_classifier

from focusgym.runs import cli
from focusgym.runs.cli import main
from focusgym.runs.evaluation.trace import play
from focusgym.runs.evaluation.trained import find_trained
from focusgym.runs.executors import local
from focusgym.runs.executors.units import Unit
from focusgym.runs.options.presets import PresetError
from focusgym.runs.options.space import Range, Space, read_space
from focusgym.runs.training import tuning
from focusgym.runs.training.tuning import (
    Trial,
    TuningError,
    best_of,
    propose,
    run_trial,
    search,
)

RATE = {"low": 1e-4, "high": 1e-2, "log": True}


def space_file(path: Path, verb: str = "fit classifier", **options: object) -> Path:
    path.write_text(yaml.safe_dump({verb: {k.replace("_", "-"): v for k, v in options.items()}}))
    return path


def test_a_space_becomes_commands(tmp_path: Path) -> None:
    """What is searched for is given by each trial, the rest by the space and its preset."""
    path = space_file(
        tmp_path / "space.yaml",
        "train",
        preset="digits",
        cache="c",
        plus=False,
        lr=RATE,
        hidden={"choose": [64, 128]},
        n_envs={"low": 32, "high": 64, "step": 32},
    )
    space = read_space(path)
    assert space.searched == {
        "lr": Range(low=1e-4, high=1e-2, log=True),
        "hidden": Range(choices=(64, 128)),
        "n-envs": Range(low=32, high=64, step=32),
    }
    words = space.command(tmp_path / "run", {"lr": 0.001, "hidden": 64, "n-envs": 32})
    assert words[:3] == ["train", f"{tmp_path / 'run'}", "--preset=digits"]
    assert {*words[3:]} == {"--cache=c", "--no-plus", "--lr=0.001", "--hidden=64", "--n-envs=32"}


@pytest.mark.parametrize(
    ("verb", "options", "message"),
    [
        ("train", {"lr": 1e-3}, "no option has a range to search in"),
        ("train", {"hidden": {"low": 1, "high": 9, "step": 1.5}}, "an integer as the step"),
        (
            "train",
            {"lr": RATE, "device": {"choose": ["cpu", "cuda"]}},
            "device: it is not searched",
        ),
        ("train", {"lr": {"low": 1}}, "lr: expected {low: NUMBER, high: NUMBER}"),
        ("train", {"lr": {"low": 2, "high": 1}}, "lr: expected low below high"),
        ("train", {"lr": {"low": 0, "high": 1, "log": True}}, "both positive where log is true"),
        ("train", {"lr": {"low": -1e308, "high": 1e308}}, "lr: expected a finite range"),
        ("train", {"lr": {"low": 0.01, "high": 0.1, "step": 1}}, "a step of at most high less low"),
        ("train", {"lr": {"low": "1e-4", "high": 0.1}}, "YAML reads 1e-4 as a text"),
        ("train", {"lr": {"choose": [1e-3]}}, "lr: choose: expected two values or more"),
        ("train", {"hidden": {"choose": [64, "many"]}}, "hidden must be"),
        ("train", {"hiden": RATE}, "train has no option 'hiden', did you mean 'hidden'"),
        ("compare", {"lr": RATE}, "expected one section, of fit encoder"),
        ("train", {"lr": RATE, "preset": "nope"}, "nope: there is no such preset"),
    ],
)
def test_a_wrong_space(verb: str, options: dict[str, object], message: str, tmp_path: Path) -> None:
    path = space_file(tmp_path / "space.yaml", verb, **options)
    with pytest.raises(PresetError) as caught:
        read_space(path)
    assert str(caught.value).startswith("nope" if "preset" in options else str(path))
    assert message in str(caught.value)


SPACE = Space("train", {}, {"x": Range(low=0.0, high=1.0), "n": Range(choices=("a", 2, None))})


def test_what_is_proposed() -> None:
    """It lies in the space, depends on seed, number and former trials, and goes to the best."""
    pytest.importorskip("optuna")
    first = propose(SPACE, [], 0, seed=0)
    assert first == propose(SPACE, [], 0, seed=0)
    assert first.chosen not in [propose(SPACE, [], *other).chosen for other in ((0, 1), (1, 0))]
    rng = np.random.default_rng(0)
    done = [
        Trial(i, {"x": float(x), "n": "a"}, accuracy=1 - abs(float(x) - 0.8))
        for i, x in enumerate(rng.random(30))
    ]
    done.append(Trial(30, {"x": 0.1, "n": 2}, failed="no"))
    proposals = [propose(SPACE, done, number, seed=0) for number in range(31, 71)]
    assert [each.number for each in proposals] == [*range(31, 71)]
    assert {each.chosen["n"] for each in proposals} <= {"a", 2, None}
    assert all(0 <= each.chosen["x"] <= 1 for each in proposals)
    # Of uniform draws a fifth would lie within 0.1 of the best.
    assert np.mean([abs(each.chosen["x"] - 0.8) < 0.1 for each in proposals]) > 0.3


def in_turn(function: Callable[..., None], units: dict[str, Unit], *_: object) -> dict[str, Any]:
    return {name: function(*unit.arguments) for name, unit in units.items()}


def test_a_search_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever it is interrupted, the same trials are made, and none that is done is run again."""
    pytest.importorskip("optuna")
    ran: list[int] = []
    write, left = tuning._write, [0]

    def run(space: Space, place: Path, trial: Trial) -> None:
        ran.append(trial.number)
        failed = "diverged" if trial.number == 1 else ""
        accuracy = None if failed else trial.chosen["x"]
        tuning._write(place, replace(trial, accuracy=accuracy, failed=failed))

    def cut(place: Path, trial: Trial) -> None:
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt
        write(place, trial)

    monkeypatch.setattr(tuning, "run_trial", run)
    uninterrupted = search(SPACE, tmp_path / "whole", 15, 3, 0, in_turn)
    assert [each.number for each in uninterrupted] == ran == [*range(15)]
    assert best_of(uninterrupted).accuracy == max(each.accuracy or 0 for each in uninterrupted)
    assert uninterrupted[1].failed == "diverged"
    monkeypatch.setattr(tuning, "_write", cut)
    for n in (1, 2, 4, 5, 26, 27, 29):  # what is noted of a batch, and what came of a trial
        ran.clear()
        left[0] = n
        with pytest.raises(KeyboardInterrupt):
            search(SPACE, tmp_path / f"{n}", 15, 3, 0, in_turn)
        assert search(SPACE, tmp_path / f"{n}", 15, 3, 0, in_turn) == uninterrupted
        assert len(ran) - len({*ran}) <= 1, "the one that was interrupted"
    more = search(SPACE, tmp_path / "1", 17, 3, 0, in_turn)  # more are asked for
    assert (more[:15], len(more)) == (uninterrupted, 17)


def test_what_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trial between others is not tried again with other options, beside what came of them."""
    pytest.importorskip("optuna")

    def run(space: Space, place: Path, trial: Trial) -> None:
        tuning._write(place, replace(trial, accuracy=0.5))

    monkeypatch.setattr(tuning, "run_trial", run)
    trials = search(SPACE, tmp_path, 4, 2, 0, in_turn)
    place, second = tmp_path / "trials" / "0001", trials[1]
    name = next(name for name, of in SPACE.searched.items() if not of.choices)
    for other, message in (
        (replace(second, number=2), "is of trial 2 with"),
        (replace(second, accuracy=7.0), "expected trial 1 and a share"),
        (replace(second, chosen={**second.chosen, name: 1e9}), "ranges that do not hold that"),
    ):
        tuning._write(place, other)
        with pytest.raises(TuningError, match=message):
            search(SPACE, tmp_path, 4, 2, 0, in_turn)
    (place / "trial.json").unlink()
    with pytest.raises(TuningError, match=r"0001/trial.json is damaged .* and of all later ones"):
        search(SPACE, tmp_path, 6, 2, 0, in_turn)


@pytest.mark.parametrize("trials", [3, 12])
def test_all_fail(trials: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends after the random ones; with fewer, after all."""
    pytest.importorskip("optuna")

    def run(space: Space, place: Path, trial: Trial) -> None:
        tuning._write(place, replace(trial, failed="no such cache"))

    monkeypatch.setattr(tuning, "run_trial", run)
    first = min(trials, 10)
    with pytest.raises(TuningError, match=f"all of the first {first} trials failed.*no such cache"):
        search(SPACE, tmp_path, trials, 1, 0, in_turn)
    assert len([*(tmp_path / "trials").iterdir()]) == first


def test_a_trial_of_a_policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is trained, or goes on, and is measured on val; a full disk is no failure of it."""
    commands: list[list[str]] = []

    def command(words: list[str]) -> None:
        commands.append(words)
        run = Path(words[1])
        if words[0] == "evaluate":
            print(json.dumps({"policies": [{"accuracy_by_step": [0.125, 0.375]}]}))
        elif "--lr=2" in words:
            run.mkdir()
            (run / "config.yaml").touch()
            raise RuntimeError("out of memory")
        elif "--lr=3" in words:
            try:
                raise OSError(28, "no room", "file")
            except OSError:
                raise SystemExit(2) from None
        elif "--lr=4" in words:
            raise SystemExit(130)

    monkeypatch.setattr(cli, "main", command)
    space = Space("train", {"device": "cuda"}, {"lr": Range(low=1, high=4)})
    places = [tmp_path / f"{lr}" for lr in range(5)]
    for place in places:
        place.mkdir()
    run_trial(space, places[1], Trial(0, {"lr": 1}))
    run = str(places[1] / "run")
    assert commands == [
        ["train", run, "--device=cuda", "--lr=1"],
        ["evaluate", run, "--split", "val", "--no-fixed", "--json", "--device=cuda"],
    ]
    kept = json.loads((places[1] / "trial.json").read_text())
    assert (kept["accuracy"], kept["failed"]) == (0.25, "")
    run_trial(space, places[2], Trial(0, {"lr": 2}))
    kept = json.loads((places[2] / "trial.json").read_text())
    assert (kept["accuracy"], kept["failed"]) == (None, "RuntimeError: out of memory")
    assert "out of memory" in (places[2] / "log.txt").read_text()
    commands.clear()
    run_trial(replace(space, fixed={}), places[2], Trial(0, {"lr": 2}))  # it has begun
    assert commands == [["train", str(places[2] / "run"), "--lr=2", "--resume"]]
    for lr, error in ((3, OSError), (4, KeyboardInterrupt)):
        with pytest.raises(error):
            run_trial(space, places[lr], Trial(0, {"lr": lr}))
        assert not (places[lr] / "trial.json").exists()


def test_a_policy_is_measured(
    tmp_path: Path, one_thread: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """A real training, and its accuracy on val, the mean over the steps."""
    cache = write_cache(tmp_path / "cache", n=24)
    f_c = write_classifier(cache, tmp_path / "f_c")
    small = {"n-envs": 6, "minibatch": 3, "conv-channels": 2, "hidden": 6, "epochs": 1}
    fixed = {"cache": str(cache.root), "classifier": str(f_c), **small}
    (tmp_path / "0").mkdir()
    space = Space("train", fixed, {"lr": Range(low=1e-4, high=1e-2)})
    run_trial(space, tmp_path / "0", Trial(0, {"lr": 1e-3}))
    kept = json.loads((tmp_path / "0" / "trial.json").read_text())
    assert kept["failed"] == ""
    played = find_trained(tmp_path / "0" / "run")
    videos = played.cache.split("val")
    right = play(played.engine, played.agent, videos, played.cost)[0].correct
    assert kept["accuracy"] == pytest.approx(right.mean())


def test_a_classifier_is_tuned(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    one_thread: None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The whole verb: real trainings, their accuracies on val, and a preset of the best."""
    pytest.importorskip("optuna")
    monkeypatch.setattr(local, "get_context", lambda method: get_context("fork"))
    cache = write_cache(tmp_path / "cache", n=24)
    space = space_file(
        tmp_path / "space.yaml",
        cache=str(cache.root),
        epochs=1,
        hidden={"choose": [4, 8]},
        lr_classifier=RATE,
    )
    twice = tmp_path / "twice.yaml"
    twice.write_text(space.read_text().replace("  epochs: 1", "  lr_classifier: 1.0\n  epochs: 1"))
    with pytest.raises(PresetError, match="expected each option once"):
        read_space(twice)
    out = tmp_path / "out"
    main(["tune", f"{out}", f"{space}", "--trials", "2", "--jobs", "2"])
    printed = capsys.readouterr().out
    assert "right on val, %" in printed
    assert f"next: focusgym fit classifier OUT --preset {out / 'best.yaml'}" in printed
    results = json.loads((out / "results.json").read_text())
    tried = results["trials"]
    assert [each["failed"] for each in tried] == ["", ""]
    best = max(tried, key=lambda each: each["accuracy"])
    assert results["best"] == best["number"]
    chosen = yaml.safe_load((out / "best.yaml").read_text())["fit classifier"]
    assert {name: chosen[name] for name in best["chosen"]} == best["chosen"]
    run = out / "trials" / f"{best['number']:04d}" / "run"
    bundle = json.loads((run / "bundle.json").read_text())
    assert bundle["metrics"]["val_accuracy"] == pytest.approx(best["accuracy"])
    with pytest.raises(SystemExit):
        main(["tune", f"{out}", f"{space}", "--trials", "2", "--seed", "1"])
    assert "was begun with other settings (seed was 0, is 1)" in capsys.readouterr().err
