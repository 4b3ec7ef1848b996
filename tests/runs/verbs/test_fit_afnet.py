"""``focusgym fit afnet``: what is trained, kept, told and refused; and it goes on."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from end_to_end_runs import interrupt, videos_of
from PIL import Image
from verbs import Call, contents, refused, run_fit, single_batch

from focusgym.recognizer import (
    AFNet,
    AFNetConfig,
    AFNetRecognizer,
    AFNetStage,
    FrameConfig,
    begin_with,
    read_bundle,
    read_recognizer,
    uniform_draws,
)
from focusgym.runs.cli import main
from focusgym.runs.evaluation.afnet_runs import random_masks

FRAMES = FrameConfig(3, 32, 32)


def command(out: Path, data: Path, *more: object) -> list[str]:
    """Return the arguments behind ``focusgym fit`` for a run on digits."""
    arguments = ("afnet", out, "--videos", data, "--preset", "afnet_digits", "--steps", 3)
    how = ("--epochs", 2, "--batch-size", 5, "--seed", 3, "--lr-afnet", 0.01, "--keep-score", 1.5)
    return [*map(str, (*arguments, *how, *more))]


@pytest.fixture(scope="module")
def run(
    tmp_path_factory: pytest.TempPathFactory, end_to_end_digits: Path
) -> tuple[Path, Call, Path]:
    """A run, what `fit` was called with, and the data."""
    out, calls = tmp_path_factory.mktemp("afnet") / "run", list[Call]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("focusgym.runs.training.stages.fit", Call.spy(calls))
        run_fit(*command(out, end_to_end_digits))
    return out, calls[0], end_to_end_digits


def test_what_is_trained(run: tuple[Path, Call, Path]) -> None:
    _, call, data = run
    settings = asdict(call.settings)
    assert settings["lr"] == {"afnet": 0.01, "gates": 0.04}
    assert (settings["optimizer"], settings["epochs"]) == ("adamw", 2)
    stage = call.stage
    assert isinstance(stage, AFNetStage)
    sizes = AFNetConfig("small", 10, 3, keep_score=1.5, dropout=0.0)
    assert stage.network.config == sizes
    torch.manual_seed(3)
    for name, value in AFNet(sizes).state_dict().items():
        assert torch.equal(stage.network.state_dict()[name], value), name
    frames, draws, labels = single_batch(call.train, epoch=1)
    expected, expected_labels = videos_of(data, "train", FRAMES)
    assert torch.equal(frames, expected), "nothing is augmented"
    assert torch.equal(labels, expected_labels)
    assert torch.equal(draws, uniform_draws(range(12), 3, [*call.seed, 1], 4))


def test_what_is_kept_and_told(
    run: tuple[Path, Call, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    out, call, data = run
    recognizer = read_recognizer(out, fuse=False)
    assert isinstance(recognizer, AFNetRecognizer)
    assert recognizer.frames == FRAMES.for_any_size()
    assert recognizer.classes == tuple("0123456789")
    frames, labels = videos_of(data, "val", FRAMES)
    recognition, metrics = recognizer(frames), read_bundle(out, "recognizer").metrics
    assert metrics is not None
    right = (recognition.logits[:, 0].argmax(-1) == labels).double().mean()
    assert call.kept.val_accuracy == pytest.approx(float(right))
    assert metrics["val_accuracy"] == call.kept.val_accuracy
    assert metrics["gmacs"] == pytest.approx(recognition.gmacs.mean().item())
    kept = recognizer.look(frames).masks.mean().item()
    assert metrics["kept_share"] == pytest.approx(kept)
    assert json.loads((out / "run.json").read_text())["verb"] == "fit afnet"
    # The verb recognize takes it as it is.
    path = next(Path(data).rglob("*.mp4"))
    main(["recognize", str(path), "--bundle", str(out), "--json"])
    line = json.loads(capsys.readouterr().out)
    assert 0 <= line["focal_share"] <= 1
    assert len(line["steps"]) == 1
    assert line["steps"][0]["frame"] is None
    assert line["gmacs"] <= line["full_frames_gmacs"]
    main(["recognize", str(path), "--bundle", str(out)])
    assert "% of the focal branches run, " in capsys.readouterr().out
    for option, value in (("--gmacs", "1"), ("--annotate", str(out))):
        with pytest.raises(SystemExit):
            main(["recognize", str(path), "--bundle", str(out), option, value])
        assert f"{option}: {out} predicts once for a video" in capsys.readouterr().err


def test_rows_of_an_evaluation(
    run: tuple[Path, Call, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The run, as many random frames as its gates keep, and all frames: by hand."""
    out, _, data = run
    capsys.readouterr()
    main(["evaluate", str(out), "--json"])
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["policies"]}
    assert [*rows] == ["run", "random, as run", "all, as run"]
    recognizer = read_recognizer(out)
    assert isinstance(recognizer, AFNetRecognizer)
    frames, labels = videos_of(data, "test", FRAMES)
    output = recognizer.look(frames)
    shape = output.masks.shape
    for name, masks in (("run", output.masks), ("all, as run", torch.ones(shape))):
        logits = recognizer.look(frames, masks=masks).logits
        row = rows[name]
        assert row["accuracy"] == pytest.approx(float((logits.argmax(1) == labels).double().mean()))
        assert row["kept_share"] == pytest.approx(float(masks.mean()))
        cost = recognizer.cost.of_videos(masks > 0).mean()
        assert row["gmacs_per_video"] == pytest.approx(float(cost))
        assert len(row["accuracy_by_step"]) == 1
    drawn = rows["random, as run"]
    assert drawn["kept_share"] == pytest.approx(rows["run"]["kept_share"])
    assert drawn["gmacs_per_video"] == pytest.approx(rows["run"]["gmacs_per_video"])
    main(["evaluate", str(out), "--no-fixed"])
    words = capsys.readouterr().out.split()  # where lines are broken depends on the console
    assert " ".join(words).startswith("accuracy (%) on 9 videos, after all frames; frames kept (%)")
    with pytest.raises(SystemExit):
        main(["evaluate", str(out), "--exit-at", "0.5"])
    assert "--exit-at: run predicts once for a video" in capsys.readouterr().err
    main(["compare", str(tmp_path / "rows"), "--reward", "--end-to-end", str(out), "--json"])
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert row["label"] == "AFNet"
    assert row["final_accuracy"]["value"] == pytest.approx(rows["run"]["accuracy"])


def test_random_masks_keep_as_many_frames_in_each_block() -> None:
    masks = (uniform_draws(range(6), 4, (0, 0, 0), 3) < 0.5).float()
    drawn = random_masks(masks, uniform_draws(range(6), 4, (1, 0, 0), 3))
    assert torch.equal(drawn.sum(dim=1), masks.sum(dim=1))
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    assert not torch.equal(drawn, masks)


def test_a_budget_of_compute(
    run: tuple[Path, Call, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The blocks together are drawn to a number of GMACs."""
    recognizer, data = read_recognizer(run[0], fuse=False), run[2]
    assert isinstance(recognizer, AFNetRecognizer)
    half = recognizer.cost.at_ratio(0.5, 3)
    calls = list[Call]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("focusgym.runs.training.stages.fit", Call.spy(calls))
        sizes = ("--steps", 3, "--frame", 32, "--resize", 32, "--backbone", "small", "--dropout", 0)
        jester = ("--preset", "afnet_jester", "--format", "csv", "--decay-epochs", "--epochs", 1)
        how = (*jester, "--no-augment", "--lr-afnet", 0.01, "--loss-weight", 1)
        budget = ("afnet", tmp_path / "out", "--videos", data, "--gmacs", half, "--keep-score", 1.5)
        run_fit(*map(str, (*budget, *sizes, *how)))
    lr = calls[0].settings.lr
    assert lr == {"afnet": 0.01, "gates": pytest.approx(0.1)}, "ten times as fast, if not given"
    stage, prices = calls[0].stage, torch.tensor(recognizer.cost.focal_gmacs)
    assert isinstance(stage, AFNetStage)
    stage.begin_epoch(9, 10)
    assert stage.target == pytest.approx(0.5)
    frames, draws, labels = single_batch(calls[0].train, epoch=0)
    stage.train()
    outputs = stage(frames, draws)
    spent = float(outputs.masks.detach().mean(dim=(0, 1)) @ prices / prices.sum())
    entropy = torch.nn.functional.cross_entropy(outputs.logits, labels)
    loss = (stage.losses(outputs, labels).mean() - entropy).detach()
    assert loss.item() == pytest.approx((0.5 - spent) ** 2, abs=1e-5)
    message = refused(capsys, *command(tmp_path / "other", data, "--gmacs", 1000))
    assert "--gmacs 1000: a video costs between" in message


def test_an_interrupted_run_goes_on_to_the_same_bytes(
    run: tuple[Path, Call, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, data = tmp_path / "out", run[2]
    interrupt(monkeypatch, command(out, data))
    message = refused(capsys, *command(out, data, "--ratio", 0.3))
    assert "ratio was 0.5, is 0.3" in message
    run_fit(*command(out, data, "--json"))
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {"val_accuracy", "kept_share", "gmacs"} <= printed.keys()
    files, expected = contents(out), contents(run[0])
    assert files.keys() == expected.keys()
    for name in set(expected) - {"config.yaml", "run.json"}:
        assert files[name] == expected[name], name


def test_what_does_not_go_together(
    tmp_path: Path, end_to_end_digits: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    for more, expected in (
        (("--order", "halving"), "an AF network reads the video's frames in their order"),
        (("--segment-frames", 2), "an AF network reads the video's frames in their order"),
        (("--steps", 1), "--steps 1: gates have nothing to choose among one frame: give --ratio 1"),
        (
            ("--steps", 1, "--ratio", 1, "--lr-gates", 0.1),
            "--lr-gates 0.1: of one frame, which they keep, gates learn nothing: give --lr-gates 0",
        ),
        (("--decay-epochs", 2, 20), "--decay-epochs 2 20: the preset's, if they are not given"),
        (("--decay-epochs", 1), "decay_epochs and warmup_epochs are not for one_cycle"),
        (("--selection", "soft"), "soft selection skips nothing: ratios must be 1; got 0.5"),
        (("--ratio", 2), "ratio must be in [0, 1]; got 2"),
        (("--lr-policy", 0.1), "--lr-policy: this stage does not train it"),
        (("--dropout", 1), "dropout must be in [0, 1); got 1"),
    ):
        assert expected in refused(capsys, *command(out, end_to_end_digits, *more))
    assert not [*tmp_path.iterdir()]


def test_a_training_that_begins_with_weights(
    run: tuple[Path, Call, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A bundle or a file of the same weights are one start; other weights are refused."""
    bundle, _, data = run
    calls, out = list[Call](), tmp_path / "out"
    network = read_recognizer(bundle, fuse=False)
    assert isinstance(network, AFNetRecognizer)
    expected = network.network.state_dict()
    torch.save(expected, tmp_path / "same.pth")
    torch.save({**expected, "head.bias": expected["head.bias"] + 1}, tmp_path / "other.pth")
    interrupt(monkeypatch, command(out, data, "--weights", bundle))
    lines = capsys.readouterr().out.splitlines()
    n_gates = sum(".navigation." in name for name in expected)
    assert lines[:3] == [
        f"used      backbone: {len(expected) - n_gates - 2} tensors of {bundle}",
        f"used      gates: {n_gates} tensors of {bundle}",
        f"used      head: 2 tensors of {bundle}",
    ]
    for weights in (("--weights", tmp_path / "other.pth"), ()):
        message = refused(capsys, *command(out, data, *weights))
        assert "was begun on other data (weights " in message
    message = refused(capsys, *command(out, data, "--weights", tmp_path / "none"))
    assert f"--weights {tmp_path / 'none'}: there is no such file or folder: give the" in message
    message = refused(capsys, *command(tmp_path / "new", data, "--weights", data))
    assert "is not a readable bundle" in message
    monkeypatch.setattr("focusgym.runs.training.stages.fit", Call.spy(calls))
    run_fit(*command(out, data, "--weights", tmp_path / "same.pth", "--json"))
    assert "tensors" not in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == {"out", "same.pth", "other.pth"}
    first = calls[0].stage.network.state_dict()
    for name, value in expected.items():
        assert torch.equal(first[name], value), name


def test_images_as_videos_of_one_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an `afnet_imagenet` does, on lists of image files."""
    for i in range(12):
        picture = np.full((64, 64, 3), 20 * i, np.uint8)
        Image.fromarray(picture).save(tmp_path / f"{i}.png")
    for split, some in (("train", range(8)), ("val", range(8, 12))):
        lines = [f"{i}.png 1 {i % 2}" for i in some]
        (tmp_path / f"{split}.txt").write_text("\n".join(lines))
    lists = ("--videos", tmp_path, "--train", tmp_path / "train.txt", "--val", tmp_path / "val.txt")
    sizes = ("--frame", 64, "--resize", 0, "--backbone", "small", "--batch-size", 4)
    how = ("--epochs", 3, "--decay-epochs", 1, 2, "--warmup-epochs", 1, "--lr-afnet", 0.5)
    calls = list[Call]()
    monkeypatch.setattr("focusgym.runs.training.stages.fit", Call.spy(calls))
    out = tmp_path / "out"
    run_fit("afnet", out, "--preset", "afnet_imagenet", *map(str, (*lists, *sizes, *how)))
    settings = calls[0].settings
    assert (settings.decay_epochs, settings.warmup_epochs) == ((1, 2), 1)
    assert settings.scaled_lr == {"afnet": pytest.approx(0.5 * 4 / 64)}
    assert (settings.optimizer, settings.schedule, settings.nesterov) == ("sgd", "cosine", False)
    frames, _, labels = single_batch(calls[0].validation, epoch=0)
    assert frames.amax(dim=(1, 2, 3, 4)).tolist() == [20 * i for i in range(8, 12)]
    assert labels.tolist() == [0, 1, 0, 1]
    assert read_bundle(out, "recognizer").metrics["kept_share"] == 1
    # Of another number of frames and classes: gates and head begin at random.
    network = AFNet(AFNetConfig("small", 3, 4))
    report = begin_with(network, read_bundle(out, "recognizer").weights)
    assert report.left_out.keys() == {"gates", "head"}
