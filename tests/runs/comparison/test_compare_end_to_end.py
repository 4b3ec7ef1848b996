"""The verb ``compare`` with runs that were trained end to end: rows, what is kept, refusals."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from comparisons import CLASSES, make_played
from end_to_end_runs import D, P, T, command, cubes_command
from support import write_cache
from verbs import run_fit

from focusgym.runs.cli import main
from focusgym.runs.comparison.cells import ComparisonError
from focusgym.runs.comparison.end_to_end import SplitVideos
from focusgym.runs.evaluation.pixel_runs import PixelRun

Runs = dict[str, Path]


@pytest.fixture(scope="module")
def runs(end_to_end_digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Two of one row, one without auxiliary heads, and one with random boxes."""
    root, folders = tmp_path_factory.mktemp("runs"), Runs()
    for name, more in {
        "learned": (),
        "seed": ("--seed", 4),
        "plain": ("--no-auxiliary",),
        "random": ("--boxes", "random"),
    }.items():
        folders[name] = root / name
        run_fit(*command(root / name, end_to_end_digits, "--epochs", 1, *more))
    return folders


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the runs that are played."""
    names: list[str] = []
    play = PixelRun.play

    def noting(self: PixelRun, *args: Any, **how: Any) -> Any:
        names.append(self.name)
        return play(self, *args, **how)

    monkeypatch.setattr(PixelRun, "play", noting)
    return names


def evaluated(
    runs: Sequence[Path], seed: int, capsys: pytest.CaptureFixture[str]
) -> dict[Path, dict[str, Any]]:
    """What ``evaluate`` says of runs with a seed."""
    capsys.readouterr()
    main(["evaluate", *map(str, runs), "--no-fixed", "--seed", str(seed), "--json"])
    rows = json.loads(capsys.readouterr().out.splitlines()[-1])["policies"]
    assert [row["name"] for row in rows] == [run.name for run in runs]
    return dict(zip(runs, rows, strict=True))


def test_runs_alone(
    runs: Runs,
    played: list[str],
    root: Path,
    compare: Callable[..., Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Figures are those of ``evaluate``; seeds make a row; what is measured is kept."""
    first = compare("c", "--reward", "--end-to-end", runs["learned"], runs["seed"])
    assert first["labels"] == ["AdaFocusV2"]
    assert first["groups"] == ["end to end"]
    assert played == ["learned", "seed"]
    summary = compare("c", "--reward", "--end-to-end", *runs.values())
    assert played == ["learned", "seed", "plain", "random"], "each is played once"
    labels = ["AdaFocusV2, auxiliary=True", "AdaFocusV2, auxiliary=False", "random boxes"]
    assert summary["labels"] == labels
    assert summary["reference"] == labels[0]
    rows = {row["label"]: row for row in summary["rows"]}
    assert [row["seeds"] for row in rows.values()] == [[3, 4], [3], [3]]
    assert {row["kind"] for row in rows.values()} == {"trained"}
    assert {row["patch_px"] for row in rows.values()} == {P}
    alone = evaluated([runs[name] for name in ("learned", "plain", "random")], 3, capsys)
    alone |= evaluated([runs["seed"]], 4, capsys)
    for label, of_row in zip(labels, (("learned", "seed"), ("plain",), ("random",)), strict=True):
        seeds = rows[label]["seeds"]
        results = [alone[runs[name]] for name in of_row]
        by_step = np.mean([each["accuracy_by_step"] for each in results], axis=0)
        row = rows[label]
        assert row["accuracy_by_step"]["value"] == pytest.approx(by_step.tolist())
        assert row["gmacs_by_step"] == pytest.approx(results[0]["gmacs_by_step"])
        assert bool(row["accuracy_by_step"]["interval"]) == (len(seeds) == 2)
        low, high = row["final_over_videos"]
        assert low <= by_step[-1] <= high
    played.clear()
    assert any("measured on the video files" in note for note in summary["notes"])
    assert "measured on the video files" in (root / "c" / "index.html").read_text()
    assert pd.read_csv(root / "c" / "results.csv")["design"].tolist() == labels
    assert compare("c", "--reward", "--end-to-end", *runs.values()) == summary
    assert not played


@pytest.mark.usefixtures("no_page")
def test_beside_designs_and_finished_runs(
    runs: Runs,
    end_to_end_digits: Path,
    played: list[str],
    root: Path,
    compare: Callable[..., Any],
    refused: Callable[..., str],
) -> None:
    """A cache names videos by the ends of their paths; other videos are refused before all."""
    cache = write_cache(root / "nine" / "cache", n=45).root
    videos = shutil.copytree(end_to_end_digits, root / "videos")
    mine, its = pd.read_csv(cache / "videos.csv"), pd.read_csv(videos / "videos.csv")
    test, tested = mine["split"] == "test", its["split"] == "test"
    mine.loc[test, "name"] = [Path(path).name for path in its["path"][tested]]
    mine.to_csv(cache / "videos.csv", index=False)
    its.loc[tested, "label"] = mine["label"][test].to_list()
    its.to_csv(videos / "videos.csv", index=False)
    designs = ("--reward", "increments", "confidence", "--seeds=1", "--cache", cache)
    where = ("--videos-root", videos)
    summary = compare("c", *designs, "--end-to-end", runs["random"], *where)
    fixed = ["central", "random", "gaussian", "fixed"]
    assert summary["labels"] == ["increments", "confidence", *fixed, "random boxes"]
    assert summary["groups"] == ["p12_3x3"]
    (row,) = (row for row in summary["rows"] if row["label"] == "random boxes")
    assert row["unpaired"] == "p12_3x3: no seed in common with increments"
    assert row["n_videos"] == 9
    assert played == ["random"]
    beside = ("--end-to-end", runs["random"], *where, "--reference", "random boxes")
    pair = compare("c", *designs, *beside)
    assert played == ["random"]
    rows = {row["label"]: row for row in pair["rows"]}
    assert rows["central"]["difference"]["final_accuracy"]["over_videos"], "the same videos"
    # Beside finished runs as well.
    cells = [root / "c/cells/p12_3x3" / name / "seed-0" for name in ("increments", "confidence")]
    finished = compare("r", "--runs", *cells, "--end-to-end", runs["random"], *where)
    assert finished["labels"] == ["increments", "confidence", "random boxes"]
    shown = {row["label"]: row["final_accuracy"]["value"] for row in finished["rows"]}
    assert shown == {label: rows[label]["final_accuracy"]["value"] for label in shown}

    run = f"--end-to-end {runs['random']}: expected the test videos of "
    message = refused("d", *designs, "--end-to-end", runs["random"])
    assert message.startswith(f"{run}the cache ROOT/nine/cache; got other true classes in ")
    message = refused("d", "--reward", "increments", "--end-to-end", runs["random"])
    assert message.startswith(f"{run}the cache ROOT/cache; got 9 videos instead of 4: give runs on")
    message = refused("d", "--runs", *cells, "--end-to-end", runs["random"])
    assert f"{run}increments in --runs; got other true classes in " in message
    assert not (root / "d").exists()
    gone = refused("c", *designs, *where)
    assert f"compares more than is asked for now ({runs['random']})" in gone


def test_what_is_refused(runs: Runs, root: Path, refused: Callable[..., str]) -> None:
    learned, alone = runs["learned"], ("--reward", "--end-to-end")
    for args, wanted in (
        ((*alone, root), "--end-to-end ROOT: expected the folder of a finished run of"),
        ((*alone, learned, learned), "there is already a run with its settings and its"),
        ((*alone, learned, "--reference", "x"), "--reference x: no such row; choose one"),
        (("--runs", learned), f"--runs {learned}: was trained end to end: give it to --end-to-end"),
    ):
        assert wanted in refused("c", *args), args
    assert not (root / "c").exists()


@pytest.mark.usefixtures("played")
def test_cubes_beside_boxes(
    runs: Runs,
    end_to_end_digits: Path,
    root: Path,
    compare: Callable[..., Any],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """Other numbers of predictions, of which the first is after a glance; two seeds, one row."""
    first = [tmp_path / f"first{seed}" for seed in (3, 4)]
    second = [tmp_path / f"second{seed}" for seed in (3, 4)]
    axes = ("--time", "random", "--space", "random")
    for seed, one, other in zip((3, 4), first, second, strict=True):
        how = ("--epochs", 1, "--seed", seed)
        run_fit(*cubes_command(one, end_to_end_digits, *axes, *how))
        run_fit(*cubes_command(other, end_to_end_digits, "--networks", one, *how))
    run_folders = (runs["learned"], runs["seed"], *second, *first)
    summary = compare("v3", "--reward", "--end-to-end", *run_folders, "--reference", "AdaFocusV3")
    assert summary["labels"] == ["AdaFocusV2", "AdaFocusV3", "random cubes"]
    rows = {row["label"]: row for row in summary["rows"]}
    assert [row["seeds"] for row in rows.values()] == [[3, 4]] * 3
    alone = evaluated([second[0], first[0]], 3, capsys)
    alone |= evaluated([second[1], first[1]], 4, capsys)
    for label, of_row in (("AdaFocusV3", second), ("random cubes", first)):
        results = [alone[run] for run in of_row]
        row, by_step = rows[label], np.mean([f["accuracy_by_step"] for f in results], axis=0)
        assert len(by_step) == D + 1
        assert row["accuracy_by_step"]["value"] == pytest.approx(by_step.tolist())
        assert row["final_accuracy"]["value"] == pytest.approx(by_step[-1])
        assert row["mean_accuracy"]["value"] == pytest.approx(by_step.mean())
        assert row["gmacs_by_step"] == pytest.approx(results[0]["gmacs_by_step"])
        assert row["gmacs_per_video"] == pytest.approx(results[0]["gmacs_per_video"])
        assert row["kept_share"] == 1
    boxes = rows["AdaFocusV2"]
    assert len(boxes["accuracy_by_step"]["value"]) == T
    difference = boxes["difference"]["final_accuracy"]
    expected = boxes["final_accuracy"]["value"] - rows["AdaFocusV3"]["final_accuracy"]["value"]
    assert difference["value"] == pytest.approx(expected)
    assert difference["over_videos"]
    csv = pd.read_csv(root / "v3" / "results.csv").set_index("design")
    assert pd.isna(csv.loc["AdaFocusV2", "step_0"])
    for label, row in rows.items():
        steps = [
            f"step_{n + 1 - (label != 'AdaFocusV2')}" for n in range(len(row["gmacs_by_step"]))
        ]
        assert csv.loc[label, steps].tolist() == pytest.approx(row["accuracy_by_step"]["value"])
    assert any(note.startswith("First a glance at the whole video") for note in summary["notes"])
    page = (root / "v3" / "index.html").read_text()
    for words in ("glance: ", "cube 3: ", "% of cubes kept", "frame 3: ", "% of frames kept"):
        assert words in page


def test_videos_that_are_told_apart() -> None:
    """By path and true class, one by one."""
    names, labels = np.array(["a/1.mp4", "a/2.mp4"]), np.array([0, 1])
    tested = SplitVideos(names, labels, "x")
    same = SplitVideos(np.array(["1.mp4", "d/a/2.mp4"]), labels, "y")
    assert tested.difference(same) is None
    for other, wanted in (
        (SplitVideos(names[::-1], labels, "y"), "a/2.mp4 where a/1.mp4 is expected"),
        (SplitVideos(np.array(["b/1.mp4", "a/2.mp4"]), labels, "y"), "b/1.mp4 where a/1.mp4"),
        (SplitVideos(np.array(["1.mp4", "12.mp4"]), labels, "y"), "12.mp4 where a/2.mp4"),
        (SplitVideos(names, labels[::-1], "y"), "other true classes in 2 of 2 videos"),
        (SplitVideos(names[:1], labels[:1], "y"), "1 videos instead of 2"),
    ):
        assert wanted in str(tested.difference(other))


def test_what_a_file_says_of_other_videos_or_classes() -> None:
    played = make_played([0.5, 0.5], seed=0, n=7)
    tested = SplitVideos(played.names, played.labels, "the cache", CLASSES)
    tested.check(played, "a")
    for other, wanted in (
        (played.rows(slice(1)), "a: expected .* test videos of the cache; got 1 videos instead"),
        (replace(played, labels=played.labels + 9), "other true classes in 7 of 7 videos"),
        (replace(played, predictions=played.predictions + 5), "a prediction 9, where there are 5"),
    ):
        with pytest.raises(ComparisonError, match=wanted):
            tested.check(other, "a")
