"""Stages that are trained by all processes that torchrun has started; run by test_processes.py."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from stage_trainings import (
    C,
    Interrupted,
    T,
    make_features,
    make_frames,
    make_on_features,
    make_pixels,
    make_policy,
    train,
    weights_of,
)
from torch import Tensor, nn

from focusgym.recognizer import (
    AFNet,
    AFNetConfig,
    AFNetStage,
    FitConfig,
    Fitted,
    FullFrames,
    TensorSamples,
    fit,
    process_group,
    rank_and_world,
    uniform_draws,
)
from focusgym.recognizer.stages import progress

# Ten samples in batches of three: two and one, and in the end one and none.
PIXELS = FitConfig(
    3, 3, {"local": 0.02, "classifier": 0.05}, lr_batch_size=6, freeze_batch_norm=True
)
FEATURES = FitConfig(3, 3, {"classifier": 0.1})
Result = tuple[nn.Module, Fitted]


def on_pixels(folder: Path, rank: int) -> Result:
    """Stage 0 of f_L, then stage I: one network in two trainings."""
    stage = make_pixels(skip_rate=0.3)
    frames, labels = make_frames(10)
    samples = TensorSamples(10, lambda epoch, rows: (frames[rows], labels[rows]))
    config = FitConfig(1, 3, {"encoder": 0.02}, freeze_batch_norm=True)
    torch.manual_seed(0)
    fit(FullFrames(stage.local_encoder, C), samples, samples, config, name="stage 0", seed=[1])
    return stage, train(stage, PIXELS, name="stage I", checkpoint=folder / "pixels.checkpoint")


def on_policy(folder: Path, rank: int) -> Result:
    """Stage III on pixels, patches and looks drawn; one sample to select on, for two processes."""
    stage = make_pixels(policy=make_policy(0.5), sample=True)
    return stage, train(stage, PIXELS, n_val=1)


def with_gates(folder: Path, rank: int) -> Result:
    """An AF network: the loss of its gates is of the shares of a whole batch."""
    torch.manual_seed(0)
    sizes = AFNetConfig("small", C, T, keep_score=1.5, dropout=0.2)
    stage = AFNetStage(AFNet(sizes), ratio=0.4)
    frames, labels = make_frames(10)

    def load(epoch: int, rows: Tensor) -> tuple[Tensor, ...]:
        draws = uniform_draws(rows.tolist(), T, [7, epoch], stage.network.n_gates)
        return frames[rows], draws, labels[rows]

    samples = TensorSamples(10, load)
    config = FitConfig(3, 3, {"afnet": 0.02, "gates": 0.2}, freeze_batch_norm=True)
    return stage, fit(stage, samples, samples, config, name="gates", seed=[1])


def moving_statistics(folder: Path, rank: int) -> Result:
    """Stage I with BatchNorms that are trained; other samples for each in an epoch's last step."""
    stage = make_pixels()
    return stage, train(stage, replace(PIXELS, batch_size=5, freeze_batch_norm=False))


def on_features(folder: Path, rank: int) -> Result:
    """Stage III, or I, on the cache."""
    stage = make_on_features()
    return stage, train(stage, FEATURES)


def other_start(folder: Path, rank: int) -> Result:
    """Each process has weights of its own; what is learned is wrong, and undone."""
    glance, local, _ = make_features(10)
    says_now = make_on_features()(glance, local)[:, -1].argmax(dim=1)
    samples = [
        TensorSamples(
            10, lambda epoch, rows, labels=labels: (glance[rows], local[rows], labels[rows])
        )
        for labels in ((says_now + 1) % C, says_now)
    ]
    stage = make_on_features(rank)
    return stage, fit(stage, *samples, FEATURES, name="wrong", seed=[1])


def half(folder: Path, rank: int) -> Result:
    """Scaled gradients, some of which overflow."""
    stage = make_on_features()
    with torch.no_grad():
        stage.classifier.head.weight.mul_(300)
    return stage, train(stage, replace(FEATURES, precision="float16"))


def begun_by_two(folder: Path, rank: int) -> Result:
    """Interrupted in the second epoch: one process goes on."""
    stage = make_on_features()
    try:
        train(stage, FEATURES, checkpoint=folder / "two", stop_after=7)
    except Interrupted:
        return stage, Fitted(-1, 0, 0)
    raise AssertionError("it was not interrupted")


def begun_by_one(folder: Path, rank: int) -> Result:
    """Goes on with what one process began, if it did."""
    stage = make_on_features()
    return stage, train(stage, FEATURES, checkpoint=folder / "one")


TRAININGS: tuple[Callable[[Path, int], Result], ...] = (
    on_pixels,
    on_policy,
    with_gates,
    moving_statistics,
    on_features,
    other_start,
    half,
    begun_by_two,
    begun_by_one,
)


def main(folder: Path) -> None:
    """Train all; each process leaves its weights and results."""
    torch.set_num_threads(1)
    with process_group() as device:
        rank, world = rank_and_world()
        report: dict[str, Any] = {"rank": rank, "world": world, "device": str(device), "writes": 0}
        real = progress.write_checkpoint

        def write(*args: Any) -> None:
            report["writes"] += 1
            real(*args)

        progress.write_checkpoint = write
        for training in TRAININGS:
            stage, kept = training(folder, rank)
            name = training.__name__
            report[name] = asdict(kept)
            weights = {key: value.contiguous() for key, value in weights_of(stage).items()}
            save_file(weights, folder / f"{name}.{rank}")
        report["training"] = any(module.training for module in stage.modules())
    (folder / f"report.{rank}").write_text(json.dumps(report))
    assert rank_and_world() == (0, 1)
