"""``focusgym tune``: spaces, what is proposed, trials that are kept, and the best on val."""

from __future__ import annotations

import json
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from support import write_cache

from focusgym.runs.cli import main
from focusgym.runs.executors import local
from focusgym.runs.executors.units import Unit
from focusgym.runs.options.presets import PresetError
from focusgym.runs.options.space import Range, Space, read_space
from focusgym.runs.training import tuning
from focusgym.runs.training.tuning import Trial, TuningError, best_of, propose, search

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
    ("verb", "options", "said"),
    [
        ("train", {"lr": 1e-3}, "no option has a range to search in"),
        ("train", {"lr": {"low": 1}}, "lr: expected {low: NUMBER, high: NUMBER}"),
        ("train", {"lr": {"low": 2, "high": 1}}, "lr: expected low below high"),
        ("train", {"lr": {"low": 0, "high": 1, "log": True}}, "both positive where log is true"),
        ("train", {"lr": {"choose": [1e-3]}}, "lr: choose: expected two values or more"),
        ("train", {"hidden": {"choose": [64, "many"]}}, "hidden must be"),
        ("train", {"hiden": RATE}, "train has no option 'hiden', did you mean 'hidden'"),
        ("compare", {"lr": RATE}, "expected one section, of fit encoder"),
        ("train", {"lr": RATE, "preset": "nope"}, "nope: there is no such preset"),
    ],
)
def test_a_wrong_space(verb: str, options: dict[str, object], said: str, tmp_path: Path) -> None:
    path = space_file(tmp_path / "space.yaml", verb, **options)
    with pytest.raises(PresetError) as caught:
        read_space(path)
    assert str(caught.value).startswith("nope" if "preset" in options else str(path))
    assert said in str(caught.value)


SPACE = Space("train", {}, {"x": Range(low=0.0, high=1.0), "n": Range(choices=("a", 2, None))})


def test_what_is_proposed() -> None:
    """It lies in the space, depends on seed and former trials alone, and goes to the best ones."""
    pytest.importorskip("optuna")
    first = propose(SPACE, [], 3, seed=0)
    assert [each.number for each in first] == [0, 1, 2]
    assert first == propose(SPACE, [], 3, seed=0) != propose(SPACE, [], 3, seed=1)
    rng = np.random.default_rng(0)
    done = [
        Trial(i, {"x": float(x), "n": "a"}, accuracy=1 - abs(float(x) - 0.8))
        for i, x in enumerate(rng.random(30))
    ]
    done.append(Trial(30, {"x": 0.1, "n": 2}, failed="no"))
    found = propose(SPACE, done, 40, seed=0)
    assert {each.chosen["n"] for each in found} <= {"a", 2, None}
    assert all(0 <= each.chosen["x"] <= 1 for each in found)
    # Of uniform draws a fifth would lie within 0.1 of the best.
    assert np.mean([abs(each.chosen["x"] - 0.8) < 0.1 for each in found]) > 0.3


def test_a_search_goes_on(tmp_path: Path) -> None:
    """Trials that are done are not run again; after an interruption the same ones come."""
    pytest.importorskip("optuna")
    ran: list[int] = []

    def run(space: Space, place: Path, trial: Trial) -> None:
        ran.append(trial.number)
        if ran.count(3) == 1 and trial.number == 3:
            raise KeyboardInterrupt
        failed = "diverged" if trial.number == 1 else ""
        accuracy = None if failed else trial.chosen["x"]
        tuning._write(place, replace(trial, accuracy=accuracy, failed=failed))

    def do(function: object, units: dict[str, Unit], *_: object) -> dict[str, Any]:
        return {name: run(*unit.given) for name, unit in units.items()}

    with pytest.raises(KeyboardInterrupt):
        search(SPACE, tmp_path / "cut", 6, 2, 0, do)
    whole = search(SPACE, tmp_path / "whole", 6, 2, 0, do)
    assert [each.number for each in whole] == [0, 1, 2, 3, 4, 5]
    ran.clear()
    ran.append(3)
    assert search(SPACE, tmp_path / "cut", 6, 2, 0, do) == whole
    assert ran == [3, 3, 4, 5]
    assert best_of(whole).accuracy == max(each.accuracy or 0 for each in whole)
    assert whole[1].failed == "diverged"
    assert len(search(SPACE, tmp_path / "cut", 8, 2, 0, do)) == 8  # more are asked for


def test_all_fail(tmp_path: Path) -> None:
    pytest.importorskip("optuna")

    def do(function: object, units: dict[str, Unit], *_: object) -> dict[str, Any]:
        for unit in units.values():
            _space, place, trial = unit.given
            tuning._write(place, replace(trial, failed="no such cache"))
        return {}

    with pytest.raises(TuningError, match="all of the first 2 trials failed.*no such cache"):
        search(SPACE, tmp_path, 6, 2, 0, do)
    assert not [*tmp_path.iterdir()], "the same command begins anew"


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
    out = tmp_path / "out"
    main(["tune", f"{out}", f"{space}", "--trials", "2", "--jobs", "2"])
    said = capsys.readouterr().out
    assert "right on val, %" in said
    assert f"next: focusgym fit classifier OUT --preset {out / 'best.yaml'}" in said
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
