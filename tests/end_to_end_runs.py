"""Tiny runs of ``focusgym fit end-to-end`` and ``fit cubes``: commands, and frames they read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor
from verbs import run_fit

from focusgym.feature_cache import Clip, VideoSamples, read_frames
from focusgym.recognizer import FrameConfig

T, S, P = 3, 64, 28
FRAMES = FrameConfig(T, S, order="halving")
# Of cubes: more frames, and fewer cubes.
CUBE_FRAMES, D = FrameConfig(6, S), 3
_SIZES = ("--steps", T, "--hidden", 8)
_OF_A_POLICY = ("--policy-hidden", 6, "--conv-channels", 3, "--lr-policy", 0.1)
_HOW = ("--epochs", 2, "--batch-size", 5, "--seed", 3)
_RATES = [arg for name in ("glance", "local", "classifier") for arg in (f"--lr-{name}", 0.1)]


def command(out: Path, data: Path, *more: object) -> list[str]:
    """Return the arguments behind ``focusgym fit`` for a run on digits."""
    common = ("end-to-end", out, "--videos", data, "--preset", "digits_v2", *_SIZES, *_HOW, *_RATES)
    of_a_policy = () if "--boxes" in more else _OF_A_POLICY
    return [*map(str, (*common, *of_a_policy, *more))]


def cubes_command(out: Path, data: Path, *more: object) -> list[str]:
    """Return the arguments behind ``focusgym fit`` for a run with cubes on digits."""
    common = ("cubes", out, "--videos", data, "--preset", "digits_v3", "--hidden", 8)
    sizes = ("--steps", 6, "--cubes", D)
    encoders = ("--glance-encoder", "small_glance", "--local-encoder", "small_local")
    weights = ("--weights", "small_glance=random", "--weights", "small_local=random")
    learns = not {"--time", "--space"} <= {*more}  # tests give both where nothing is learned
    of_a_policy = _OF_A_POLICY if learns else ()
    how = ("--glance-px", 8, *_HOW, *_RATES, *of_a_policy)
    every = (*common, *sizes, *encoders, *weights, *how, *more)
    return [*map(str, every)]


def interrupt(monkeypatch: pytest.MonkeyPatch, args: Sequence[str]) -> None:
    """Begin a run, and interrupt it in its second epoch."""
    real, begun = VideoSamples.batches, list[int]()

    def interrupted(self: VideoSamples, epoch: int, rows: Any) -> Any:
        if len(begun) == 3:  # a validation, an epoch, a validation
            raise KeyboardInterrupt
        begun.append(epoch)
        return real(self, epoch, rows)

    with monkeypatch.context() as patch:
        patch.setattr(VideoSamples, "batches", interrupted)
        with pytest.raises(SystemExit) as caught:
            run_fit(*args)
    assert caught.value.code == 130


def videos_of(data: Path, split: str | None, frames: FrameConfig = FRAMES) -> tuple[Tensor, Tensor]:
    """Return frames ``(B, T, 3, S, S)`` in a run's order, and labels; of all splits if None."""
    table = pd.read_csv(data / "videos.csv")
    table = table if split is None else table[table["split"] == split]
    read = [read_frames(Clip(str(data / path)), frames)[0] for path in table["path"]]
    return torch.stack(read), torch.tensor(table["label"].tolist())
