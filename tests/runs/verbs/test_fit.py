"""``focusgym fit`` on videos: what each stage is given, does, and leaves; what is refused."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor, nn
from torch.nn import functional
from verbs import (
    Call,
    Digits,
    assert_kept,
    assert_same_pixels,
    make_policy,
    refused,
    run_fit,
    single_batch,
)

from focusgym.agents import read_policy
from focusgym.feature_cache import AugmentConfig
from focusgym.recognizer import (
    ClassifierConfig,
    FitConfig,
    FullFrames,
    GruClassifier,
    OnPixels,
    PolicyNetwork,
    read_bundle,
    read_classifier,
    read_encoder,
    uniform_draws,
    write_bundle,
)
from focusgym.runs.cli import _parse
from focusgym.runs.configs.fit import HeadConfig
from focusgym.runs.configs.stages import TrainingConfig
from focusgym.runs.options.parse import UsageError, settings_of

S, P, N, K = 64, 28, 3, 9
OFFSETS = (0, 18, 36)  # of three patches of 28 px in 64 px
PATCHES = ("--patch", str(P), "--grid", str(N), "--batch-size", "4", "--epochs", "2")
RATES = ("--lr-local", "0.5", "--lr-classifier", "2")


def test_stage_zero(
    tmp_path: Path,
    digits: Digits,
    encoders: Path,
    calls: list[Call],
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, weights = tmp_path / "deep" / "out", encoders / "glance" / "weights.safetensors"
    before = torch.get_rng_state()
    how = ("--epochs", "3", "--batch-size", "4", "--lr-encoder", "0.5", "--seed", "3")
    network = ("--network", "small_glance", "--weights", weights, "--input-px", "12")
    run_fit("encoder", out, *digits.options, *network, *how, "--flip", "False")
    assert torch.equal(torch.get_rng_state(), before)
    (call,) = calls
    assert asdict(call.settings) == {
        "epochs": 3,
        "batch_size": 4,
        "lr": {"encoder": 0.5},
        "optimizer": "sgd",
        "schedule": "cosine",
        "decay_epochs": (),
        "warmup_epochs": 0,
        "momentum": 0.9,
        "nesterov": True,
        "weight_decay": 1e-4,
        "lr_batch_size": 64,
        "freeze_batch_norm": False,
        "precision": "float32",
    }
    assert isinstance(call.stage, FullFrames)
    start = read_bundle(encoders / "glance", "encoder").weights
    for name, value in call.stage.encoder.state_dict().items():
        assert torch.equal(value, start[name])
    torch.manual_seed(3)
    assert torch.equal(call.stage.head.weight, nn.Linear(32, 2).weight)
    for epoch in (0, 2):
        frames, labels = single_batch(call.train, epoch)
        assert_same_pixels(frames, digits.pixels(AugmentConfig(1, False, 3), epoch))
        assert tuple(labels.tolist()) == digits.labels
    frames, labels = single_batch(call.validation)
    assert_same_pixels(frames, digits.pixels())
    assert tuple(labels.tolist()) == digits.labels

    assert call.kept.epoch > 0
    stage, kept = call.again(), call.kept
    assert_kept(out, "encoder", stage.encoder, kept)
    bundle = read_bundle(out, "encoder")
    assert bundle.config == {"name": "small_glance", "input_px": 12, "reduction": "area"}
    assert bundle.cache_fingerprint is None
    assert read_encoder(out).channels == 32
    assert [path.name for path in out.parent.iterdir()] == ["out"], "nothing else is left"
    settings = yaml.safe_load((out / "config.yaml").read_text())["fit encoder"]
    assert (settings["lr-encoder"], settings["batch-size"], settings["seed"]) == (0.5, 4, 3)
    record = json.loads((out / "run.json").read_text())
    assert record["fingerprints"].keys() == {"videos", "weights"}
    printed = capsys.readouterr().out
    scaled = "batches of 4 instead of 64: learning rates times 0.0625: encoder 0.03125"
    assert f"stage 0: {scaled}" in printed
    share = f"{100 * kept.val_accuracy:.1f} % right on the validation videos"
    assert f"{out}: epoch {kept.epoch} of the training; {share}" in printed


CASES: dict[str, tuple[str, ...]] = {
    "stage I": (),
    "stage I, skips": ("--skip-rate", "0.4"),
    "stage III": ("--policy", "pi"),
    "stage III, plus": ("--policy", "plus"),
    "stage III, drawn": ("--policy", "plus", "--sample-policy"),
}


@pytest.mark.parametrize("case", CASES)
def test_patches_that_f_l_is_trained_on(
    case: str, tmp_path: Path, digits: Digits, encoders: Path, maps: Tensor, calls: list[Call]
) -> None:
    """Cut out by hand, where the draws or the policy say, from the frames of an epoch."""
    policies = {"pi": make_policy(tmp_path / "pi", None, maps)}
    policies["plus"] = make_policy(tmp_path / "plus", 0.5, maps)
    options = [str(policies.get(each, each)) for each in CASES[case]]
    networks = ("--glance-encoder", encoders / "glance", "--local-encoder", encoders / "local")
    head = ("--hidden", "8", "--dropout", "0", "--reuse-glance")
    run_fit(
        "patches", tmp_path / "out", *digits.options, *networks, *PATCHES, *RATES, *head, *options
    )
    (call,) = calls
    assert isinstance(call.stage, OnPixels)
    frames, draws, _ = single_batch(call.train, epoch=1)
    assert_same_pixels(frames, digits.pixels(AugmentConfig(1, True, 0), 1))
    assert torch.equal(draws, uniform_draws(range(12), 2, [*call.seed, 1]))
    policy = read_policy(policies[options[1].split("/")[-1]]) if "III" in case else None
    expected = literal_options(frames, draws, encoders, policy, case)
    seen: list[Tensor] = []
    stage = copy.deepcopy(call.stage).train()
    stage.local_encoder.trunk.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    stage(frames, draws)
    patches = stage.local_encoder.prepare(cut(frames.flatten(0, 1), expected.flatten()))
    assert torch.equal(seen[0], patches)
    assert len(expected.unique()) > 3
    assert bool((expected == -1).any()) == (case not in ("stage I", "stage III"))

    assert call.kept.epoch > 0
    stage, kept = call.again(), call.kept
    assert_kept(tmp_path / "out" / "local", "encoder", stage.local_encoder, kept)
    assert_kept(tmp_path / "out" / "classifier", "classifier", stage.classifier, kept)
    start = read_bundle(encoders / "local", "encoder").weights
    end = read_bundle(tmp_path / "out" / "local", "encoder").weights
    assert not torch.equal(*(each["trunk.0.0.weight"] for each in (start, end)))
    # On validation videos nothing is drawn but stage I's patches.
    frames, draws, labels = single_batch(call.validation)
    assert not torch.equal(draws, single_batch(call.train)[1])
    plain = case.replace(", skips", "").replace(", drawn", ", plus")
    chosen = literal_options(digits.pixels(), draws, encoders, policy, plain)
    loss = literal_loss(tmp_path / "out", encoders, frames, chosen, labels)
    assert kept.val_loss == pytest.approx(loss, rel=1e-5)


def literal_options(
    frames: Tensor, draws: Tensor, encoders: Path, policy: PolicyNetwork | None, case: str
) -> Tensor:
    """Return the options ``(B, T)`` of a case, −1 where nothing is looked at."""
    where, whether = draws.numpy()[..., 0], draws.numpy()[..., 1]
    looks = whether >= (0.4 if "skips" in case else 0)
    if policy is None:
        return torch.from_numpy(np.where(looks, (where * K).astype(int), -1))
    with torch.no_grad():
        maps = read_encoder(encoders / "glance")(frames.flatten(0, 1)).permute(0, 2, 3, 1)
        p = policy(maps.unflatten(0, (12, 2))).double().softmax(-1).numpy()
        if policy.keep:
            keep = policy.keep(maps.unflatten(0, (12, 2))).numpy()
            looks = whether < keep if "drawn" in case else keep >= 0.5
    options = p.argmax(-1)
    if "drawn" in case:
        options = (p.cumsum(-1) <= where[..., None]).sum(-1)
    return torch.from_numpy(np.where(looks, options, -1))


def cut(frames: Tensor, options: Tensor) -> Tensor:
    patches = []
    for frame, option in zip(frames, options.tolist(), strict=True):
        if option >= 0:
            top, left = OFFSETS[option // N], OFFSETS[option % N]
            patches.append(frame[:, top : top + P, left : left + P])
    return torch.stack(patches)


@torch.no_grad()
def literal_loss(
    out: Path, encoders: Path, frames: Tensor, options: Tensor, labels: Tensor
) -> float:
    """Return the loss of the bundles on videos, one frame after the other."""
    glance, local = read_encoder(encoders / "glance"), read_encoder(out / "local")
    f_c, losses = read_classifier(out / "classifier"), []
    for video, chosen, label in zip(frames, options, labels, strict=True):
        e_g = glance(video).mean((2, 3))
        e_l = torch.zeros(len(video), local.channels)
        for t, option in enumerate(chosen.tolist()):
            if option >= 0:
                e_l[t] = local(cut(video[t : t + 1], chosen[t : t + 1])).mean((2, 3))[0]
        logits = f_c(e_g[None], e_l[None])[0]
        losses += [float(functional.cross_entropy(each, label)) for each in logits]
    return float(np.mean(losses))


@pytest.mark.parametrize("policy", [False, True])
def test_f_l_stays_as_it_is_where_its_rate_is_zero(
    policy: bool, tmp_path: Path, digits: Digits, encoders: Path, maps: Tensor, calls: list[Call]
) -> None:
    """As it has to be said for stage III, in which the paper trains f_C alone."""
    networks = ("--glance-encoder", encoders / "glance", "--local-encoder", encoders / "local")
    stage_iii = ("--policy", make_policy(tmp_path / "pi", None, maps)) if policy else ()
    head = ("--no-reuse-glance", "--aggregation", "average", "--preset", "mini_kinetics")
    how = (*PATCHES, *stage_iii, *head, "--no-augment", "--freeze-batch-norm", "--lr-local", "0")
    run_fit("patches", tmp_path / "out", *digits.options, *networks, *how)
    (call,) = calls
    assert call.settings.lr == {"classifier": 5e-4 if policy else 0.05}
    assert call.settings.freeze_batch_norm
    for epoch in (0, 1):
        assert torch.equal(single_batch(call.train, epoch)[0], digits.pixels())
    same = [path / "local" / "weights.safetensors" for path in (encoders, tmp_path / "out")]
    assert same[0].read_bytes() == same[1].read_bytes()
    assert read_bundle(tmp_path / "out" / "classifier", "classifier").config == {
        "glance_channels": 32,
        "local_channels": 64,
        "n_classes": 2,
        "hidden": 1024,
        "dropout": 0.5,
        "reuse_glance": False,
        "aggregation": "average",
        "steps": 2,
    }
    classifier = read_classifier(tmp_path / "out" / "classifier")
    assert {tuple(each.shape) for each in classifier.parameters()} == {(2, 64), (2,)}


def fit_config(*args: str) -> Any:
    """Return the config that the command line and its preset give."""
    return _parse(["fit", *args]).verb


def test_presets_are_the_papers() -> None:
    """AdaFocus, appendix B.1: what the command line gives when it says nothing else."""
    stage_zero = ("encoder", "out", "--videos", "v", "--network", "n", "--weights", "w")
    pixels = ("patches", "out", "--videos", "v", "--glance-encoder", "g", "--local-encoder", "l")
    cached, policy = ("classifier", "out", "--cache", "c"), ("--policy", "p")
    for preset, lr in (("activitynet", 5e-3), ("fcvid", 5e-3), ("mini_kinetics", 5e-4)):
        for command, epochs, rates in (
            (stage_zero, 15, {"encoder": 0.01}),
            (pixels, 50, {"local": 5e-4, "classifier": 0.05}),
            (cached, 50, {"classifier": 0.05}),
            ((*pixels, *policy), 10, {"classifier": lr}),
            ((*cached, *policy), 10, {"classifier": lr}),
        ):
            config = fit_config(*command, "--preset", preset)
            settings = settings_of(config.training, list(rates))
            assert settings == FitConfig(epochs, 64, rates, lr_batch_size=64)
            assert (settings.momentum, settings.nesterov, settings.weight_decay) == (
                0.9,
                True,
                1e-4,
            )
            if command != stage_zero:
                assert (config.head, config.skip_rate) == (HeadConfig(1024, 0.5), 0.0)
    assert fit_config(*cached) == fit_config(*cached, "--preset", "activitynet")
    config = TrainingConfig(
        epochs=3, batch_size=96, lr_local=0.25, lr_classifier=5e-3, precision="bfloat16"
    )
    settings = settings_of(config, ["local", "classifier"])
    assert settings == FitConfig(
        3, 96, {"local": 0.25, "classifier": 5e-3}, lr_batch_size=64, precision="bfloat16"
    )
    assert settings.scaled_lr == pytest.approx({"local": 0.375, "classifier": 7.5e-3})
    with pytest.raises(UsageError, match=r"does not train local in this stage: give --lr-local, 0"):
        settings_of(fit_config(*pixels, *policy).training, ["local", "classifier"])


WRONG: list[tuple[Sequence[object], str]] = [
    (("--epochs", 0), "--epochs must be an integer of at least 1; got 0"),
    (("--batch-size", 0), "a stage needs epochs >= 1 and batch_size >= 1; got 2, 0"),
    (("--lr-encoder", 1), "--lr-encoder: this stage does not train it: leave the option out"),
    (("--lr-classifier", -1), "--lr-classifier must be 0, to keep it fixed, or more; got -1"),
    (("--lr-local", "nan"), "--lr-local must be 0, to keep it fixed, or more; got nan"),
    (("--lr-local", 0, "--lr-classifier", 0), "one at least must be more than 0: all of them"),
    (("--seed", -1), "--seed must be in 0..4294967295; got -1"),
    (("--seed", 2**32), "--seed must be in 0..4294967295; got 4294967296"),
    (("--skip-rate", 1), "--skip-rate must be in [0, 1), a share of the frames; got 1.0"),
    (("--dropout", 1.5), "dropout"),
    (("--hidden", 0), "hidden"),
    (("--patch", 65), "patch_px must be in 1..64"),
    (("--grid", 1), "needs n >= 2"),
    (("--steps", 0), "steps and frame_px must be positive; got 0, 64"),
    (("--sample-policy",), "there is no policy to draw from: give --policy as well"),
    (("--device", "cuda"), "torch finds no CUDA device here"),
    (("--glance-encoder", "nowhere"), "nowhere is not a readable bundle"),
    (("--local-encoder", "F_C"), "holds a classifier, expected"),
    (("--classifier", "ENCODER"), "holds a encoder, expected a classifier"),
    (("--classifier", "F_C", "--hidden", 8), "are for a new f_C: what the one of --classifier is"),
    (("--classifier", "F_C"), "is for (glance, local, classes) = (32, 64, 3), expected (32, 64, 2"),
    (("--policy", "ENCODER", "--lr-local", 0), "holds a encoder, expected a policy"),
    (("--policy", "WIDE", "--lr-local", 0), "(h, w, G, K) = (7, 7, 32, 9), expected (6, 6, 32, 9)"),
    (("--policy", "MORE", "--lr-local", 0), "= (6, 6, 32, 16), expected (6, 6, 32, 9): give the"),
    (
        ("--policy", "PI"),
        "does not train local in this stage: give --lr-local, 0 to keep it",
    ),
    (("--patch", 64), "a patch of 64 px has 1 different place per axis in a frame of 64 px; got"),
    (("--grid", 100), "would be equal: choose at most"),
    (("--train", "nowhere.txt"), "cannot read the list nowhere.txt"),
    (("--frame", 32), "frames are 64×64 px, expected 32×32"),  # seen when the first is decoded
]


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory, encoders: Path) -> dict[str, Path]:
    """Bundles of other sizes."""
    root = tmp_path_factory.mktemp("others")
    make = {
        "WIDE": make_policy(root / "wide", None, torch.rand(3, 2, 7, 7, 32)),
        "MORE": make_policy(root / "more", None, torch.rand(3, 2, 6, 6, 32), options=16),
        "PI": make_policy(root / "pi", None, torch.rand(3, 2, 6, 6, 32)),
        "ENCODER": encoders / "glance",
        "F_C": root / "f_c",
    }
    f_c = GruClassifier(ClassifierConfig(32, 64, n_classes=3, hidden=4))
    write_bundle(make["F_C"], "classifier", f_c.config, f_c)
    return make


@pytest.mark.parametrize(("options", "text"), WRONG)
def test_mistakes_are_one_line_and_leave_nothing(
    options: Sequence[object],
    text: str,
    tmp_path: Path,
    digits: Digits,
    encoders: Path,
    others: dict[str, Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    networks = ("--glance-encoder", encoders / "glance", "--local-encoder", encoders / "local")
    arguments = [others.get(str(each), each) for each in options]
    message = refused(
        capsys, "patches", tmp_path / "out", *digits.options, *networks, *PATCHES, *arguments
    )
    assert text in message
    assert not list(tmp_path.iterdir())


def test_a_loss_that_is_not_finite_leaves_nothing(
    tmp_path: Path, digits: Digits, encoders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """So that the advice to train with other rates can be followed in the same place."""
    networks = ("--glance-encoder", encoders / "glance", "--local-encoder", encoders / "local")
    arguments = (tmp_path / "out", *digits.options, *networks, *PATCHES)
    message = refused(capsys, "patches", *arguments, "--lr-classifier", "1e30")
    assert "stage I on pixels: the loss of epoch" in message
    assert "lower the learning rates" in message
    assert not list(tmp_path.iterdir())
    run_fit("patches", *arguments)


def test_missing_videos_are_named_and_left_out_if_asked(
    tmp_path: Path,
    digits: Digits,
    encoders: Path,
    calls: list[Call],
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = Path(digits.options[1])
    train = tmp_path / "train.txt"
    train.write_text((root / "train.txt").read_text() + "\ngone/away.mp4 6 1\n")
    arguments = (*digits.options, "--train", train, *PATCHES[4:])
    network = ("--network", "small_local", "--weights", "random")
    with pytest.raises(SystemExit) as caught:
        run_fit("encoder", tmp_path / "out", *arguments, *network)
    assert caught.value.code == 2
    assert "train.txt:13: no such video" in capsys.readouterr().err
    run_fit("encoder", tmp_path / "out", *arguments, *network, "--skip-missing")
    assert "left out, for they are missing: gone/away.mp4" in capsys.readouterr().out
    assert calls[0].train.n == calls[0].validation.n == 12
    assert json.loads((tmp_path / "out" / "bundle.json").read_text())["kind"] == "encoder"
