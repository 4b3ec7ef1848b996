"""The verb ``evaluate`` on runs of systems: played again on the cache, and on the video files."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from fused_once import fused_once
from system_runs import STEPS, make_cache, train

from focusgym.agents import SYSTEMS, find_system, solve_exits
from focusgym.agents.exits.kinds import Solver
from focusgym.envs import PixelSource
from focusgym.feature_cache import Clip, read_many
from focusgym.recognizer import FrameConfig
from focusgym.runs.cli import main
from focusgym.runs.comparison import times
from focusgym.runs.evaluation.system_runs import DirectRun, find_system_run
from focusgym.runs.folders.atomic import OutputError


@pytest.fixture(scope="module", autouse=True)
def encoders_once() -> Iterator[None]:
    with fused_once():
        yield


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds a cache of digit videos, and a run of each system; see `make_cache`."""
    root = tmp_path_factory.mktemp("systems")
    make_cache(root)
    for name in SYSTEMS:
        train(root, name)
    return root


def test_times(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The median over videos of a clock that goes on by 1, 2, … s; once for as many videos."""
    seconds = iter([sum(range(n // 2 + 1)) + 10 * (n % 2) * (n // 2 % 2) for n in range(99)])
    monkeypatch.setattr(times, "process_time", lambda: next(seconds))
    runs = [(root / name, ()) for name in ("gru", "frameexit")]
    assert times.milliseconds(root / "gru") is None
    for _ in range(2):
        times.time_runs(runs, 3, None)
    # The clock was asked at 0, 0; 1, 11; 3, 3; then at 6, 16; 10, 10; 15, 25.
    assert [times.milliseconds(run) for run, _ in runs] == [0, 10_000]
    (root / "gru" / "times.json").write_text("[]")
    with pytest.raises(OutputError, match="times.json does not say how long a video took"):
        times.milliseconds(root / "gru")


@pytest.fixture
def decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let all runs have the frames that the first of them decoded."""
    decoded: dict[Any, list[Any]] = {}

    def read(clips: Sequence[Clip], frames: FrameConfig) -> Iterator[Any]:
        key = (*clips, frames)
        if key not in decoded:
            decoded[key] = list(read_many(clips, frames))
        return iter(decoded[key])

    monkeypatch.setattr("focusgym.runs.evaluation.system_runs.read_many", read)


@pytest.mark.usefixtures("decoded_once")
def test_pixels_and_cache_agree(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In all predictions, for features are rounded alike; the figures are those of the runs.

    Where those of a cache are approximate there is a second row, with the accuracy on pixels.
    """
    capsys.readouterr()
    main(["evaluate", *(str(root / name) for name in SYSTEMS), "--pixels", "--json"])
    rows: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["policies"]
    on_pixels = {row["name"]: row for row in rows if row["name"].endswith(" on pixels")}
    approximate = [name for name in SYSTEMS if find_system(name).approximate]
    assert [*on_pixels] == [f"{name} on pixels" for name in approximate]
    assert len(approximate) == 5
    rows = [row for row in rows if row["name"] not in on_pixels]
    assert [row["name"] for row in rows] == [*SYSTEMS]
    # A random place is another one on pixels, with which nothing is compared.
    random = rows.pop([*SYSTEMS].index("clip_random"))
    assert "parity" not in random
    for row in rows:
        if row["name"] in approximate:
            other = on_pixels[f"{row['name']} on pixels"]
            assert other["gmacs_by_step"] == pytest.approx(row["gmacs_by_step"])
            kept = 0.5 if row["name"] == "adafocus_v3" else 1
            assert other["kept_share"] == row["kept_share"] == kept
            difference = row["parity"]["max_abs_confidence_difference"]
            if row["name"] == "adafuse":  # the networks of this cache have no profiles
                assert difference < 1e-3
            else:
                assert 0 < difference < 1
            assert row.keys() - other.keys() == {"parity"}
            assert other.keys() <= row.keys()
            continue
        results = json.loads((root / row["name"] / "results.json").read_text())
        assert row["parity"].pop("prediction_agreement") == 1
        assert row.pop("parity")["max_abs_confidence_difference"] < 1e-3
        assert row.keys() == results["test"].keys()
        for key, value in results["test"].items():
            assert row[key] == pytest.approx(value, abs=1e-6), key


def test_an_approximate_system_on_pixels(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The figures of the second row, against all frames at once."""
    capsys.readouterr()
    main(["evaluate", str(root / "adafocus_v2"), "--pixels", "--split=train", "--json"])
    on_cache, on_pixels = json.loads(capsys.readouterr().out)["policies"]
    run = find_system_run(root / "adafocus_v2")
    cache, f_c = run.source.cache, run.source.classifier
    videos = cache.split("train")
    frames = torch.stack([each for each, _ in read_many(cache.clips(videos), cache.frames)])
    assert isinstance(run, DirectRun)
    pixels = PixelSource(cache, f_c, cache.fused_encoders(), frames)
    traces = run.reader(run.source, videos), run.reader(pixels, np.arange(len(videos)))
    labels, confidences = cache.labels[videos], []
    for row, trace in zip((on_cache, on_pixels), traces, strict=True):
        ranks = (
            (trace.logits.argsort(-1, descending=True) == labels[:, None, None]).int().argmax(-1)
        )
        for key, n in (("accuracy_by_step", 1), ("top5_by_step", 5)):
            assert row[key] == pytest.approx((ranks < n).double().mean(0).tolist()), key
        confidences.append(trace.logits.softmax(-1)[torch.arange(len(videos)), :, labels])
    difference = (confidences[1] - confidences[0]).abs().max()
    reported = on_cache["parity"]["max_abs_confidence_difference"]
    assert reported == pytest.approx(float(difference), abs=1e-4)


@pytest.mark.parametrize("name", ["adafocus_v3", "adafocus_v3_ppo", "adafuse", "clip_random"])
def test_systems_that_put_no_boxes_in_frames_in_turn_are_not_replayed(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    with pytest.raises(SystemExit):
        main(["replay", str(tmp_path / "out"), "--policy", str(root / name)])
    message = capsys.readouterr().err
    assert f"{root / name} is a run of the system {name}, which is not replayed: of sys" in message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--keep-ratio", "0.5"), "--keep-ratio: {run} is a run of a system"),
        (("--cache", "elsewhere"), "--cache: {run} is a run of a system"),
    ],
)
def test_what_means_nothing_for_a_system(
    root: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], message: str
) -> None:
    run = root / "tsn"
    with pytest.raises(SystemExit):
        main(["evaluate", str(run), *options])
    assert message.format(run=run) in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "solver"),
    [
        ("gru", "common"),
        ("frameexit", "msdnet"),
        ("frameexit_gates", "common"),
        ("arnet", "common"),
    ],
)
def test_exits_of_a_system(
    root: Path, capsys: pytest.CaptureFixture[str], name: str, solver: Solver
) -> None:
    """Against a loop over the videos with the thresholds that are told."""
    run = find_system_run(root / name)
    cache = run.source.cache
    val = run.outcome(cache.split("val"))
    share = val.played.gmacs.mean(0)[[0, -1]].mean() / val.played.gmacs[:, -1].mean()
    how = (f"--exit-at={share}", f"--exit-solver={solver}", "--split=train", "--json")
    capsys.readouterr()
    main(["evaluate", str(root / name), *how])
    alone, solved, *controls = json.loads(capsys.readouterr().out)["policies"]
    assert [row["name"] for row in controls] == [
        f"{name} {kind} at {share:g}" for kind in ("random", "fixed")
    ]
    assert solved["name"] == f"{name} exits at {share:g}"
    rule = solve_exits(
        val.logits,
        val.labels,
        torch.from_numpy(val.played.gmacs),
        share * val.played.gmacs[:, -1].mean(),
        solver=solver,
    )
    assert solved["exits"]["thresholds"] == pytest.approx(rule.thresholds)
    videos = cache.split("train")
    trace, labels = run.watch(videos), cache.labels[videos]
    read, right, gmacs = 0, 0, 0.0
    for video, fed in enumerate(trace.fed):
        looks = np.flatnonzero(fed).tolist()
        sure = trace.logits[video].double().softmax(-1).amax(-1)
        stops = [
            at for t, at in enumerate(looks[: STEPS - 1]) if float(sure[at]) >= rule.thresholds[t]
        ]
        last = [*stops, STEPS - 1][0]
        read += int(trace.attended[video, : last + 1].sum())
        right += bool(looks) and int(trace.logits[video, last].argmax()) == int(labels[video])
        gmacs += float(trace.gmacs[video, last])
    assert solved["accuracy"] == pytest.approx(right / len(videos))
    assert solved["kept_share"] == pytest.approx(read / trace.attended.size)
    assert solved["gmacs_per_video"] == pytest.approx(gmacs / len(videos))
    assert solved["gmacs_per_video"] <= alone["gmacs_per_video"]


@pytest.fixture
def message_of(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Write a file of a run anew, evaluate the run, and put the file back."""

    def refused(run: Path, name: str, content: bytes) -> str:
        kept = (run / name).read_bytes()
        (run / name).write_bytes(content)
        capsys.readouterr()
        try:
            with pytest.raises(SystemExit):
                main(["evaluate", str(run)])
        finally:
            (run / name).write_bytes(kept)
        message = capsys.readouterr().err
        assert message.startswith(f"focusgym: {run / name} ")
        assert message.endswith("put it back, or train the system again\n")
        return message

    return refused


def test_a_model_that_is_damaged(root: Path, message_of: Callable[..., str]) -> None:
    run = root / "frameexit"
    model_bytes = (run / "model.zip").read_bytes()
    garbage = io.BytesIO()
    with ZipFile(io.BytesIO(model_bytes)) as source, ZipFile(garbage, "w") as target:
        for name in source.namelist():
            target.writestr(name, b"garbage" if name == "policy.pth" else source.read(name))
    for content in (b"{}", model_bytes[: len(model_bytes) // 2], garbage.getvalue()):
        assert "cannot be opened as a model of PPO (" in message_of(run, "model.zip", content)


def test_results_that_are_damaged(root: Path, message_of: Callable[..., str]) -> None:
    results = {
        name: json.loads((root / name / "results.json").read_text())
        for name in ("frameexit", "uniform")
    }
    played = results["frameexit"]["environment"]
    for name, changed, wanted in (
        ("frameexit", {"environment": None}, "there is no environment in it"),
        ("frameexit", {"environment": [1]}, "list indices"),
        ("frameexit", {"environment": {**played, "id": "Nope-v0"}}, "env_id must be one of "),
        ("frameexit", {"environment": {**played, "id": 3}}, "env_id must be a name; got 3"),
        ("frameexit", {"environment": {**played, "keywords": {"nope": 1}}}, "nope"),
        (
            "frameexit",
            {"environment": {**played, "keywords": {**played["keywords"], "n_envs": 10**9}}},
            "got an unexpected keyword argument 'n_envs'",
        ),
        ("uniform", {"setting": None}, "setting must be a finite number; got None"),
        ("uniform", {"setting": True}, "setting must be a finite number; got True"),
        ("uniform", {"setting": 7}, "7"),
    ):
        content = json.dumps({**results[name], **changed}).encode()
        message = message_of(root / name, "results.json", content)
        assert "results.json does not say what the system reads (" in message
        assert wanted in message
    assert "does not say" in message_of(root / "uniform", "results.json", b"{}")


def test_a_model_of_another_environment(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = root / "frameexit"
    kept = (run / "model.zip").read_bytes()
    (run / "model.zip").write_bytes((root / "adaframe" / "model.zip").read_bytes())
    try:
        with pytest.raises(SystemExit):
            main(["evaluate", str(run)])
    finally:
        (run / "model.zip").write_bytes(kept)
    message = capsys.readouterr().err
    assert "model.zip does not play focusgym/Exit-v0, which" in message
    assert "expected Discrete(2); got Discrete(" in message


def test_runs_of_one_name_are_told_apart(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By their folders; and what one of them does is what it does alone."""
    paths = [root / "uniform", tmp_path / "uniform"]
    shutil.copytree(*paths)
    capsys.readouterr()
    main(["evaluate", *map(str, paths), "--json"])
    rows = json.loads(capsys.readouterr().out)["policies"]
    assert [row.pop("name") for row in rows] == [str(path) for path in paths]
    main(["evaluate", str(paths[0]), "--json"])
    (alone,) = json.loads(capsys.readouterr().out)["policies"]
    assert alone.pop("name") == "uniform"
    assert rows == [alone, alone]
