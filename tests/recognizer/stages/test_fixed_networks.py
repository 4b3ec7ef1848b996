"""What is not trained stays as it is, and what a training leaves of a stage."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from stage_trainings import (
    PIXELS,
    Interrupted,
    last_weights,
    make_pixels,
    make_policy,
    train,
    weights_of,
)

from focusgym.recognizer import FitConfig, OnPixels


def modes_of(stage: OnPixels) -> list[dict[str, bool]]:
    """Return what is noted while the stage runs: which modules are in training mode."""
    noted: list[dict[str, bool]] = []
    stage.register_forward_pre_hook(
        lambda module, _: noted.append({name: m.training for name, m in module.named_modules()})
    )
    return noted


@pytest.mark.parametrize("trained", ["local", "classifier"])
def test_a_network_without_a_rate_stays_as_it_is(trained: str, tmp_path: Path) -> None:
    """To the bit, statistics of BatchNorms included; it runs in eval mode."""
    torch.manual_seed(0)
    stage = make_pixels(policy=make_policy(0.5), sample=True)
    part = {"local": "local_encoder", "classifier": "classifier"}[trained]
    before, noted = weights_of(stage), modes_of(stage)
    required = {name: i % 3 > 0 for i, (name, _) in enumerate(stage.named_parameters())}
    for name, parameter in stage.named_parameters():
        parameter.requires_grad_(required[name])
    train(stage, FitConfig(3, 4, {trained: 0.05}), checkpoint=tmp_path / "c")
    after = weights_of(stage)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert all(name.startswith(part) for name in changed)
    # Those after the last step; what is kept may be what was there before the first.
    last = last_weights(tmp_path / "c")
    assert len(last) == sum(name.startswith(part) for name in before)
    for name, value in last.items():
        assert not torch.equal(value, before[name.replace(trained, part, 1)]), name
    in_training = [modes for modes in noted if any(modes.values())]
    assert len(in_training) == 3 * 3
    for modes in in_training:
        on = {name for name, training in modes.items() if training}
        # A GRU of a fixed f_C too: on CUDA gradients do not pass through one in eval mode.
        assert on - {"classifier.gru"} == {
            n for n in modes if (n.startswith(part) and n != "classifier.gru") or not n
        }
    assert {name: p.requires_grad for name, p in stage.named_parameters()} == required
    assert not any(module.training for module in stage.modules())


def test_statistics_of_batch_norms_can_be_frozen(tmp_path: Path) -> None:
    changed = {}
    for freeze in (False, True):
        stage = make_pixels()
        before = weights_of(stage)
        noted = modes_of(stage)
        config = FitConfig(2, 4, {"local": 0.02}, freeze_batch_norm=freeze)
        train(stage, config, checkpoint=tmp_path / f"{freeze}")
        after = last_weights(tmp_path / f"{freeze}")
        changed[freeze] = {
            name.rsplit(".", 1)[1] + (".norm" if ".1." in name else ".conv")
            for name, value in after.items()
            if not torch.equal(before[name.replace("local.", "local_encoder.", 1)], value)
        }
        norms = {"local_encoder.trunk.0.1", "local_encoder.trunk.3.1"}
        for modes in noted[2:5]:
            assert {modes[name] for name in norms} == {not freeze}
            assert modes["local_encoder.trunk.0.0"]
    learned = {"weight.conv", "weight.norm", "bias.norm"}
    statistics = {"running_mean.norm", "running_var.norm", "num_batches_tracked.norm"}
    assert changed == {True: learned, False: learned | statistics}


def test_an_exception_leaves_the_stage_as_it_was_but_for_its_weights() -> None:
    stage = make_pixels()
    stage.classifier.requires_grad_(False)
    with pytest.raises(Interrupted):
        train(stage, PIXELS, stop_after=4)
    assert {p.requires_grad for p in stage.classifier.parameters()} == {False}
    assert {p.requires_grad for p in stage.local_encoder.parameters()} == {True}
    assert not any(module.training for module in stage.modules())
