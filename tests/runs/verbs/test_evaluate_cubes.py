"""``focusgym evaluate`` with cubes: after the glance and each cube, beside other cubes, exits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from end_to_end_runs import CUBE_FRAMES, D, videos_of
from verbs import Call

from focusgym.recognizer import CubeRecognizer, evenly_spread, read_recognizer, uniform_draws
from focusgym.runs.cli import main
from focusgym.runs.evaluation.opened_runs import find_pixel_run
from focusgym.runs.evaluation.pixel_runs import PixelRun
from focusgym.runs.evaluation.trace import read_played


@pytest.fixture
def run(cube_run: tuple[Path, Call]) -> Path:
    return cube_run[0]


@pytest.fixture
def data(end_to_end_digits: Path) -> Path:
    return end_to_end_digits


def evaluated(capsys: pytest.CaptureFixture[str], *args: object) -> list[dict[str, Any]]:
    capsys.readouterr()
    main(["evaluate", *map(str, args), "--json"])
    rows: list[dict[str, Any]] = json.loads(capsys.readouterr().out.splitlines()[-1])["policies"]
    return rows


def opened(run: Path) -> CubeRecognizer:
    recognizer = read_recognizer(run)
    assert isinstance(recognizer, CubeRecognizer)
    return recognizer


def test_rows(run: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its own cubes; and random ones, and ones that are spread evenly, in its networks."""
    rows = evaluated(capsys, run, "--seed", 5)
    assert [row["name"] for row in rows] == ["run", "random, as run", "uniform, as run"]
    recognizer = opened(run)
    frames, labels = videos_of(data, "test", CUBE_FRAMES)
    uniform = evenly_spread(D).expand(9, -1, -1)
    others = (None, uniform_draws(range(9), D, [5, 20, 0], 3).float(), uniform)
    for row, where in zip(rows, others, strict=True):
        recognition = recognizer(frames, where)
        right = (recognition.logits.argmax(-1) == labels[:, None]).double().mean(0)
        assert row["accuracy_by_step"] == pytest.approx(right.tolist())
        assert (row["n_videos"], row["glances"]) == (9, 1)
        assert row["kept_share"] == 1, "all cubes: the glance is none"
        expected = np.cumsum(recognizer.step_gmacs(policy=where is None))
        assert row["gmacs_by_step"] == pytest.approx(expected.tolist())


def test_a_control_has_no_other_at_random_beside_it(
    random_cubes_run: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = evaluated(capsys, random_cubes_run, "--seed", 5)
    assert [row["name"] for row in rows] == ["random", "uniform, as random"]
    frames, labels = videos_of(data, "test", CUBE_FRAMES)
    draws = uniform_draws(range(9), D, [5, 20, 0], 3)
    recognition = opened(random_cubes_run)(frames, draws=draws)
    right = (recognition.logits.argmax(-1) == labels[:, None]).double().mean(0)
    assert rows[0]["accuracy_by_step"] == pytest.approx(right.tolist())


def test_exits(run: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recognizer = opened(run)
    spent = np.cumsum(recognizer.step_gmacs(policy=True))
    least = spent[0] / spent[-1]
    share = f"{(1 + least) / 2:.3f}"
    how = ("--exit-at", share, "--exit-measure", "entropy", "--no-fixed")
    rows = {row["name"]: row for row in evaluated(capsys, run, *how)}
    exit_row = rows[f"run exits at {share}"]
    full = recognizer(videos_of(data, "test", CUBE_FRAMES)[0])
    scores = -torch.distributions.Categorical(logits=full.logits.double()).entropy()
    thresholds = exit_row["exits"]["thresholds"]
    steps = [next((t for t in range(D) if row[t] >= thresholds[t]), D) for row in scores.tolist()]
    assert exit_row["gmacs_per_video"] == pytest.approx(np.mean(spent[steps]))
    assert exit_row["kept_share"] == pytest.approx(np.mean(steps) / D)
    with pytest.raises(SystemExit) as caught:
        main(["evaluate", str(run), "--exit-at", f"{0.9 * least:.4f}"])
    assert caught.value.code == 2
    message = f"the glance alone costs run {least:.3g} of a whole video: expected at least that"
    assert message in capsys.readouterr().err


def test_tables(
    run: Path, end_to_end_run: tuple[Path, Call], capsys: pytest.CaptureFixture[str]
) -> None:
    """In words for cubes; runs with boxes have a table of their own."""
    main(["evaluate", str(run), str(end_to_end_run[0]), "--no-fixed"])
    printed = capsys.readouterr().out
    cubes, boxes = printed.split("accuracy (%)")[1:]
    assert cubes.startswith(" on 9 videos, after the glance and n cubes; cubes kept (%)")
    heads = next(line for line in cubes.splitlines() if line.startswith("policy")).split()
    assert heads[1:5] == ["glance", "n=1", "n=2", "n=3"]
    assert boxes.startswith(" on 9 videos, after t frames; frames kept (%)")
    heads = next(line for line in boxes.splitlines() if line.startswith("policy")).split()
    assert heads[1:4] == ["t=1", "t=2", "t=3"]


def test_what_was_done_comes_back_from_its_file(run: Path, tmp_path: Path) -> None:
    opened_run = find_pixel_run(run)
    assert isinstance(opened_run, PixelRun)
    (outcome,) = opened_run.play("val")
    outcome.played.write(tmp_path / "played.npz")
    again = read_played(tmp_path / "played.npz")
    assert (again.glances, again.kept_share) == (1, 1.0)
    assert np.array_equal(again.rows(slice(2)).correct, outcome.played.correct[:2])
    assert again.rows(slice(2)).glances == 1
