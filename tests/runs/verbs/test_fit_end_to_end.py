"""``focusgym fit end-to-end``: what is trained, kept, refused, and goes on; and its evaluation."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from end_to_end_runs import FRAMES, P, S, T, command, interrupt, videos_of
from kills import in_two_processes
from torch import nn
from verbs import Call, assert_kept, contents, refused, run_fit, single_batch

from focusgym.recognizer import (
    AdaptiveRecognizer,
    Boxes,
    EndToEnd,
    PolicyConfig,
    build_policy,
    fixed_places,
    read_bundle,
    uniform_draws,
)
from focusgym.runs.cli import _parse, main
from focusgym.runs.evaluation.pixel_runs import PixelRun
from focusgym.runs.options.parse import settings_of

NAMES = ["run", "random, as run", "central, as run", "gaussian, as run"]


@pytest.fixture
def data(end_to_end_digits: Path) -> Path:
    return end_to_end_digits


@pytest.fixture
def trained(end_to_end_run: tuple[Path, Call]) -> tuple[Path, Call]:
    return end_to_end_run


def test_what_is_trained(trained: tuple[Path, Call], data: Path) -> None:
    _, call = trained
    assert asdict(call.settings) == {
        "epochs": 2,
        "batch_size": 5,
        "lr": {"glance": 0.1, "local": 0.1, "classifier": 0.1, "policy": 0.1},
        "optimizer": "adamw",
        "schedule": "one_cycle",
        "decay_epochs": (),
        "warmup_epochs": 0,
        "momentum": 0.9,
        "nesterov": True,
        "weight_decay": 0.01,
        "lr_batch_size": 64,
        "freeze_batch_norm": False,
        "precision": "float32",
    }
    stage = call.stage
    assert isinstance(stage, EndToEnd)
    assert [*stage.networks] == ["glance", "local", "classifier", "policy"]
    assert [*stage.heads] == ["glance", "local"]
    assert asdict(stage.classifier.config) == {
        "glance_channels": 32,
        "local_channels": 64,
        "n_classes": 10,
        "hidden": 8,
        "dropout": 0.2,
        "reuse_glance": True,
        "aggregation": "max_pool",
        "steps": T,
    }
    torch.manual_seed(3)
    expected = build_policy(PolicyConfig(4, 4, 32, 1, 3, 6, network="centers"))
    assert stage.policy is not None
    assert stage.policy.config == expected.config
    for name, value in expected.state_dict().items():
        assert torch.equal(stage.policy.state_dict()[name], value), name
    torch.manual_seed(3)
    assert torch.equal(stage.heads["glance"][1].weight, nn.Linear(32, 10).weight)  # type: ignore[index]
    frames, draws, labels = single_batch(call.train, epoch=1)
    expected_frames, expected_labels = videos_of(data, "train")
    assert torch.equal(frames, expected_frames), "nothing is augmented; the order is halving"
    assert torch.equal(labels, expected_labels)
    assert torch.equal(draws, uniform_draws(range(12), T, [*call.seed, 1]))
    frames, draws, labels = single_batch(call.validation)
    assert torch.equal(frames, videos_of(data, "val")[0])
    assert not torch.equal(draws, uniform_draws(range(7), T, [*call.seed, 0]))


def test_what_is_kept(trained: tuple[Path, Call], data: Path) -> None:
    """A recognizer of the networks that the training ended with, and the settings as a preset."""
    out, call = trained
    stage = call.again()
    networks = nn.ModuleDict(
        {
            "glance_encoder": stage.glance_encoder,
            "local_encoder": stage.local_encoder,
            "classifier": stage.classifier,
            "policy": stage.policy,
        }
    )
    assert_kept(out, "recognizer", networks, call.kept)
    recognizer = AdaptiveRecognizer.from_bundle(out, fuse=False)
    assert recognizer.places == Boxes(S, P)
    assert recognizer.frames == FRAMES.for_any_size()
    assert recognizer.classes == tuple("0123456789")
    assert recognizer.feature_dtype == torch.float32
    # What was measured in selection is what the recognizer does.
    frames, labels = videos_of(data, "val")
    logits = recognizer(frames).logits
    right = (logits.argmax(-1) == labels[:, None]).double().mean()
    assert call.kept.val_accuracy == pytest.approx(float(right))
    loss = -logits.log_softmax(-1).gather(2, labels[:, None, None].expand(-1, T, 1)).mean()
    assert call.kept.val_loss == pytest.approx(float(loss), rel=1e-4)
    again = _parse(["fit", "end-to-end", "x", "--preset", str(out / "config.yaml")]).verb
    assert (again.head.hidden, again.training.lr_policy, again.frames.order) == (8, 0.1, "halving")
    assert again.videos.videos == data
    assert json.loads((out / "run.json").read_text())["verb"] == "fit end-to-end"


def test_an_interrupted_run_goes_on_to_the_same_bytes(
    trained: tuple[Path, Call],
    tmp_path: Path,
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, partial = tmp_path / "out", tmp_path / "out.partial"
    interrupt(monkeypatch, command(out, data))
    before = contents(partial)
    assert sorted(before) == [".lock", "checkpoint.safetensors", "config.yaml", "run.json"]
    for more, differs in (
        (("--no-stop-gradient",), "stop-gradient was True, is False"),
        (("--patch", 30), "patch was 28, is 30"),
        (("--boxes", "central"), "boxes was 'learned', is 'central'"),
        (("--order", "video"), "order was 'halving', is 'video'"),
        (("--policy-hidden", 7), "policy-hidden was 6, is 7"),
    ):
        message = refused(capsys, *command(out, data, *more))
        assert f"{partial} was begun with other settings (" in message
        assert differs in message
    assert contents(partial) == before, "nothing was touched"
    run_fit(*command(out, data))
    files, expected = contents(out), contents(trained[0])
    networks = [name for name in expected if name not in ("config.yaml", "run.json")]
    assert {name: files[name] for name in networks} == {n: expected[n] for n in networks}
    assert files.keys() == expected.keys()


def test_two_processes_are_one(tmp_path: Path, data: Path) -> None:
    """Batches of five and two are shared unevenly; BatchNorms of all networks are frozen."""
    more = ("--freeze-batch-norm", "--optimizer", "sgd", "--dropout", 0.3, "--epochs", 1)
    ran = in_two_processes(lambda: run_fit(*command(tmp_path / "two", data, *more)))
    assert ran.codes == [0, 0], ran.err
    assert ran.out.count("right on the validation videos") == 1
    calls = list[Call]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("focusgym.runs.training.stages.fit", Call.spy(calls))
        run_fit(*command(tmp_path / "one", data, *more))
    one, two = (read_bundle(tmp_path / name, "recognizer") for name in ("one", "two"))
    assert two.metrics["epoch"] == one.metrics["epoch"] > 0
    assert two.metrics["val_loss"] == pytest.approx(one.metrics["val_loss"], rel=1e-5)
    (stage,) = (call.stage for call in calls)
    start = {name: value for name, value in stage.state_dict().items() if name[:6] != "heads."}
    assert any("running_mean" in name for name in start if name.startswith("policy"))
    for name, value in one.weights.items():
        assert float((two.weights[name].float() - value.float()).abs().max()) < 1e-5, name
        moved = float((start[name].float() - value.float()).abs().max())
        if "running" in name or "tracked" in name:
            assert moved == 0, name
    for network in ("glance_encoder", "local_encoder", "classifier", "policy"):
        names = [name for name in start if name.startswith(network)]
        assert max(float((start[n].float() - one.weights[n]).abs().max()) for n in names) > 1e-4


def evaluated(capsys: pytest.CaptureFixture[str], *args: object) -> list[dict[str, Any]]:
    capsys.readouterr()
    main(["evaluate", *map(str, args), "--json"])
    rows: list[dict[str, Any]] = json.loads(capsys.readouterr().out.splitlines()[-1])["policies"]
    return rows


def test_rows_of_an_evaluation(
    trained: tuple[Path, Call], data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its own boxes; and random, central and Gaussian ones in its networks."""
    run, _ = trained
    rows = evaluated(capsys, run, "--seed", 5)
    assert [row["name"] for row in rows] == NAMES
    recognizer = AdaptiveRecognizer.from_bundle(run)
    frames, labels = videos_of(data, "test")
    draws = uniform_draws(range(9), T, [5, 20, 0])
    cost = recognizer.cost
    gmacs = cost.glance_gmacs + cost.local_gmacs + cost.classifier_gmacs
    for row, kind in zip(rows, (None, "random", "central", "gaussian"), strict=True):
        where = None if kind is None else fixed_places(kind, recognizer.places, draws)  # type: ignore[arg-type]
        recognition = recognizer(frames, where)
        right = (recognition.logits.argmax(-1) == labels[:, None]).double().mean(0)
        assert row["accuracy_by_step"] == pytest.approx(right.tolist())
        assert (row["n_videos"], row["kept_share"]) == (9, 1)
        each = gmacs + (cost.policy_gmacs if kind is None else 0)
        assert row["gmacs_by_step"] == pytest.approx([each * (t + 1) for t in range(T)])
    main(["evaluate", str(run), "--no-fixed"])
    printed = capsys.readouterr().out
    assert "run" in printed
    assert "as run" not in printed


def test_exits_of_an_evaluation(
    trained: tuple[Path, Call], data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, _ = trained
    measure = ("--exit-at", 0.5, 1, "--exit-measure", "entropy")
    rows = evaluated(capsys, run, *measure)
    kinds = [f"run {kind} at {share}" for share in ("0.5", "1") for kind in KINDS]
    assert [row["name"] for row in rows] == ["run", *kinds, *NAMES[1:]]
    by_name = {row["name"]: row for row in rows}
    frames, labels = videos_of(data, "test")
    full = AdaptiveRecognizer.from_bundle(run)(frames)
    p = full.logits.double().softmax(-1)
    scores = (p * p.log()).sum(-1)
    exit_row = by_name["run exits at 0.5"]
    thresholds = exit_row["exits"]["thresholds"]
    assert exit_row["exits"]["measure"] == "entropy"
    steps = [
        next((t for t in range(T - 1) if scores[b, t] >= thresholds[t]), T - 1) for b in range(9)
    ]
    spent = [float(full.gmacs[b, steps[b]]) for b in range(9)]
    assert exit_row["gmacs_per_video"] == pytest.approx(np.mean(spent))
    right = [int(full.logits[b, steps[b]].argmax()) == int(labels[b]) for b in range(9)]
    assert exit_row["accuracy"] == pytest.approx(np.mean(right))
    whole_cost = rows[0]["gmacs_per_video"]
    assert by_name["run exits at 1"]["gmacs_per_video"] <= whole_cost * (1 + 1e-9)
    assert by_name["run random at 0.5"]["gmacs_per_video"] == pytest.approx(np.mean(spent))


KINDS = ("exits", "random", "fixed")


def test_what_an_evaluation_refuses(
    trained: tuple[Path, Call],
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run, _ = trained

    def refusal(*args: object) -> str:
        with pytest.raises(SystemExit) as caught:
            main(["evaluate", str(run), *map(str, args)])
        assert caught.value.code == 2
        return capsys.readouterr().err

    for option in (("--cache", "c"), ("--keep-ratio", "0.5"), ("--classifier", "f"), ("--oracle",)):
        assert f"{option[0]}: {run} was trained end to end, and is played on the" in refusal(
            *option
        )
    assert "--split night: run was trained for videos without that split; it has" in refusal(
        "--split", "night"
    )
    assert "--split val would report what they were made for" in refusal(
        "--split", "val", "--exit-at", 0.5
    )
    with monkeypatch.context() as patch:  # before any video is played
        patch.delattr(PixelRun, "recognize")
        text = "--exit-at 0.3: the first frame alone costs run 0.333 of a whole video: expected at"
        assert text in refusal("--exit-at", 0.5, 0.3)
    # Videos that moved, without those that exits are solved on.
    moved = tmp_path / "moved"
    shutil.copytree(data, moved)
    assert f"{tmp_path}/nowhere is not a folder" in refusal("--videos-root", tmp_path / "nowhere")
    rows = evaluated(capsys, run, "--videos-root", moved, "--split", "val", "--no-fixed")
    assert rows[0]["n_videos"] == 7


@pytest.mark.parametrize("content", ["fit end-to-end: [", "fit end-to-end:\n  colour: red\n", ""])
def test_damaged_settings_are_one_line(
    trained: tuple[Path, Call], tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(trained[0], tmp_path / "damaged")
    (run / "config.yaml").write_text(content)
    with pytest.raises(SystemExit) as caught:
        main(["evaluate", str(run)])
    assert caught.value.code == 2
    message = capsys.readouterr().err
    assert f"focusgym: {run}/config.yaml is damaged: put it back, or train the run again" in message
    assert "Traceback" not in message


def test_two_runs_of_one_name_are_told_apart(
    trained: tuple[Path, Call], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, _ = trained
    shutil.copytree(run, tmp_path / "run")
    rows = evaluated(capsys, run, tmp_path / "run", "--no-fixed")
    assert [row["name"] for row in rows] == [str(run), f"{tmp_path}/run"]
    assert rows[0]["accuracy_by_step"] == rows[1]["accuracy_by_step"]


def test_a_control_that_does_not_learn_where(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its boxes are central; it has no policy, and is set beside the others."""
    out = tmp_path / "run"
    options = ("--boxes", "central", "--no-auxiliary", "--epochs", 1)
    run_fit(*command(out, data, *options))
    recognizer = AdaptiveRecognizer.from_bundle(out)
    assert recognizer.policy is None
    rows = evaluated(capsys, out)
    assert [row["name"] for row in rows] == ["run", "random, as run", "gaussian, as run"]
    frames, labels = videos_of(data, "test")
    recognition = recognizer(frames, torch.full((9, T, 2), 0.5))
    right = (recognition.logits.argmax(-1) == labels[:, None]).double().mean(0)
    assert rows[0]["accuracy_by_step"] == pytest.approx(right.tolist())
    assert "run has no policy, so it has to be told where to look" in _no_policy(out, data, capsys)


def _no_policy(out: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit):
        main(["recognize", str(next(data.rglob("*.mp4"))), "--bundle", str(out)])
    return capsys.readouterr().err


def test_its_recognizer_recognizes(
    trained: tuple[Path, Call], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Boxes between pixels, of frames in the order in which they were read; also as a film."""
    run, _ = trained
    table = pd.read_csv(data / "videos.csv")
    path = data / table["path"][table["split"] == "test"].iloc[0]
    film = ("--annotate", str(tmp_path / "films"))
    main(["recognize", str(path), "--bundle", str(run), "--json", *film])
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    recognition = AdaptiveRecognizer.from_bundle(run)(videos_of(data, "test")[0][:1])
    assert [step["frame"] for step in line["steps"]] == [3, 1, 5]
    for step, box in zip(line["steps"], recognition.boxes_px[0].tolist(), strict=True):
        assert step["box_px"] == pytest.approx(box, abs=1e-3)
        assert box[2] - box[0] == pytest.approx(P, abs=1e-3)
    assert (tmp_path / "films" / f"{path.stem}.mp4").stat().st_size > 0


def test_what_cannot_be_trained_is_refused(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for more, message in (
        (("--patch", 65), "side of a box must be in 1..64 (the frame side); got 65"),
        (("--lr-encoder", 1), "--lr-encoder: this stage does not train it: leave the option out"),
        (("--lr-policy", -1), "--lr-policy must be 0, to keep it fixed, or more; got -1"),
        (("--local-encoder", "small_lokal"), "unknown encoder 'small_lokal'"),
        (("--glance-encoder", "resnet18"), "resnet18"),
        (("--preset", "activitynet"), "says nothing for `focusgym fit end-to-end`"),
        (
            ("--steps", 1, "--batch-size", 11),
            "of 12 training videos of one segment each the smallest",
        ),
    ):
        assert message in refused(capsys, *command(tmp_path / "out", data, *more)), more
    assert not [*tmp_path.iterdir()]


def test_rates_of_the_paper() -> None:
    """At its batch size; the presets' are for batches of 64. The command's own is ActivityNet's."""
    for preset, batch_size in (("activitynet_v2", 32), ("fcvid_v2", 32), ("mini_kinetics_v2", 48)):
        arguments = ["fit", "end-to-end", "out", "--videos", "v", "--preset", preset]
        config = _parse(arguments).verb
        settings = settings_of(config.training, ("glance", "local", "classifier", "policy"))
        expected = {"glance": 1e-3, "local": 2e-3, "classifier": 1e-2, "policy": 2e-4}
        scale = batch_size / 32
        assert settings.scaled_lr == pytest.approx({k: scale * v for k, v in expected.items()})
        assert (settings.epochs, settings.nesterov, settings.weight_decay) == (50, False, 1e-4)
        assert (config.policy_hidden, config.head.hidden, config.head.dropout) == (2048, 4096, 0.2)
        assert (config.frames.steps, config.frames.order, config.patch) == (16, "halving", 128)
    plain = _parse(["fit", "end-to-end", "out", "--videos", "v"]).verb
    assert plain.training.lr_policy == 4e-4
    assert plain.head.aggregation == "max_pool"
