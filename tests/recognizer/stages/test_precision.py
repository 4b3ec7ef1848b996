"""Stages that compute in half precision."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stage_trainings import (
    FEATURES,
    N_TRAIN,
    PIXELS,
    Interrupted,
    assert_equal,
    last_weights,
    make_frames,
    make_on_features,
    make_pixels,
    make_policy,
    n_batches,
    train,
    weights_of,
)
from torch import Tensor

from focusgym.recognizer import FitConfig, read_checkpoint, uniform_draws


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_is_near_float32(precision: str, tmp_path: Path) -> None:
    """Weights move alike: their difference is a small share of how far they went, but not zero."""
    moved: dict[str, dict[str, Tensor]] = {}
    for name in ("float32", precision):
        stage = make_pixels(dropout=0.0)
        before = {
            **{f"local.{k}": v for k, v in weights_of(stage.local_encoder).items()},
            **{f"classifier.{k}": v for k, v in weights_of(stage.classifier).items()},
        }
        config = replace(PIXELS, precision=name, freeze_batch_norm=True)
        train(stage, config, checkpoint=tmp_path / name)
        after = last_weights(tmp_path / name)
        moved[name] = {k: after[k] - before[k] for k in before if not k.endswith("tracked")}
        assert {p.dtype for p in stage.parameters()} == {torch.float32}
    for part in ("local", "classifier"):
        one, other = (
            torch.cat([v.flatten() for k, v in moved[name].items() if k.startswith(part)])
            for name in ("float32", precision)
        )
        assert 0 < float((one - other).norm()) < 0.1 * float(one.norm())


def test_what_runs_in_half_precision() -> None:
    """In training encoders and f_C do, on samples to select on nothing does; losses never."""
    noted: list[tuple[bool, str, torch.dtype]] = []
    stage = make_pixels()

    def note(name: str) -> Any:
        return lambda module, _, out: noted.append((stage.training, name, out.dtype))

    stage.local_encoder.trunk[0][0].register_forward_hook(note("conv"))
    stage.classifier.head.register_forward_hook(note("head"))
    train(stage, replace(PIXELS, precision="bfloat16"))
    half, full = torch.bfloat16, torch.float32
    assert {(part, dtype) for training, part, dtype in noted if training} == {
        ("conv", half),
        ("head", half),
    }
    assert {(part, dtype) for training, part, dtype in noted if not training} == {
        ("conv", full),
        ("head", full),
    }


def test_the_policy_chooses_in_float32() -> None:
    """As in the recognizer: a stage trains on the patches that will be looked at."""
    torch.manual_seed(0)
    policy = make_policy(0.5, spread=8.0)
    stage = make_pixels(policy=policy).eval()
    frames, _ = make_frames(20)
    seen: list[Tensor] = []
    policy.trunk.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    choices: list[Tensor] = []
    policy.actor.register_forward_hook(lambda _, inputs, out: choices.append(out))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        stage(frames, uniform_draws(range(20), 3, [0]))
    with torch.no_grad():
        expected = policy.actor(policy.trunk(seen[0])[0])
    assert seen[0].dtype == choices[0].dtype == torch.float32
    assert torch.equal(choices[0], expected)


def scaler_of(checkpoint: Path) -> dict[str, Any]:
    scaler: dict[str, Any] = read_checkpoint(checkpoint)[0]["progress"]["steps"]["scaler"]
    return scaler


def test_a_step_that_overflows_is_left_out_and_the_schedule_waits(tmp_path: Path) -> None:
    """Features so large that scaled gradients overflow, until the scale has been halved enough."""
    config = replace(FEATURES, precision="float16", optimizer="sgd", epochs=6)
    stage = make_on_features(dropout=0.0)
    with torch.no_grad():
        stage.classifier.head.weight.mul_(300)
    train(stage, config, checkpoint=tmp_path / "c")
    content = read_checkpoint(tmp_path / "c")[0]["progress"]
    n_steps = 6 * 4
    n_taken = content["steps"]["schedule"]["last_epoch"]
    halvings = np.log2(2.0**16 / scaler_of(tmp_path / "c")["scale"])
    assert 0 < halvings < n_steps
    assert n_taken == n_steps - halvings
    assert content["steps"]["schedule"]["_last_lr"][0] > 0
    assert all(bool(v.isfinite().all()) for v in last_weights(tmp_path / "c").values())


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_an_interrupted_training_goes_on(precision: str, tmp_path: Path) -> None:
    """The scale of the gradients too."""
    config: FitConfig = replace(FEATURES, precision=precision)

    def make() -> Any:
        stage = make_on_features()
        with torch.no_grad():
            stage.classifier.head.weight.mul_(300)
        return stage

    uninterrupted = make()
    kept = train(uninterrupted, config, checkpoint=tmp_path / "whole")
    assert (scaler_of(tmp_path / "whole").get("scale", 2.0**16) < 2.0**16) == (
        precision == "float16"
    )
    for stop_after in range(3, n_batches(config), 4):
        path = tmp_path / f"{stop_after}"
        with pytest.raises(Interrupted):
            train(make(), config, checkpoint=path, stop_after=stop_after)
        resumed = make()
        assert train(resumed, config, checkpoint=path) == kept
        assert path.read_bytes() == (tmp_path / "whole").read_bytes()
        assert_equal(weights_of(resumed), weights_of(uninterrupted))
    assert N_TRAIN % config.batch_size, "the last batch is a smaller one"
