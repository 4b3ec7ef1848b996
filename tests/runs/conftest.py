"""One tiny quickstart for all tests of the verbs; and videos and encoders for those that train."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from recognizers import make_encoder

from focusgym.feature_cache import Clip, DigitsConfig, clips_of, make_digits, read_lists
from focusgym.recognizer import FrameConfig, write_bundle
from focusgym.runs.config import QuickstartConfig
from focusgym.runs.quickstart import quickstart
from focusgym.runs.recipes import DIGITS, Recipe, adamw


@pytest.fixture(scope="session")
def tiny() -> Recipe:
    """The recipe for digits with few videos and little training."""
    return replace(
        DIGITS,
        digits=DigitsConfig(n_train=40, n_val=10, n_test=20),
        full_frames=adamw(1, 16, encoder=5e-3),
        stage_one=adamw(25, 8, local=1e-2, classifier=1e-2),  # enough for predictions that differ
        classifier=adamw(2, 16, classifier=1e-3),
        ppo=replace(DIGITS.ppo, epochs=4, n_envs=16, minibatch=8),
        ppo_plus=replace(DIGITS.ppo_plus, epochs=4, n_envs=16, minibatch=8),
        finetune=adamw(1, 16, classifier=5e-4),
    )


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory, tiny: Recipe) -> tuple[Path, dict[str, Any]]:
    """A finished quickstart: its folder, which is ``outputs/quickstart`` of a root, and results."""
    out = tmp_path_factory.mktemp("root") / "outputs" / "quickstart"
    return out, quickstart(QuickstartConfig(out=out), tiny)


@dataclass(frozen=True)
class Digits:
    """Twelve training videos, and copies of them to select on: what is learned is seen to help.

    Attributes:
        options: Of the command line, for these videos and frames.
        frames: Which frames that means.
        clips: Of the training videos, in order; those of the copies have the same pixels.
        labels: Of both, 0 or 1.
    """

    options: tuple[str, ...]
    frames: FrameConfig
    clips: tuple[Clip, ...]
    labels: tuple[int, ...]


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Digits:
    root = tmp_path_factory.mktemp("verbs") / "digits"
    table = make_digits(DigitsConfig(n_train=12, n_val=1, n_test=1, n_frames=6), root)
    paths = table["path"][table["split"] == "train"].tolist()
    (root / "again").mkdir()
    labels = [i % 2 for i in range(len(paths))]
    for split in ("train", "val"):
        names = paths if split == "train" else [f"again/{i}.mp4" for i in range(len(paths))]
        for path, name in zip(paths, names, strict=True):
            if name != path:
                shutil.copy(root / path, root / name)
        lines = [f"{name} 6 {label}" for name, label in zip(names, labels, strict=True)]
        (root / f"{split}.txt").write_text("\n".join(lines))
    given = ("--videos", root, "--train", root / "train.txt", "--val", root / "val.txt")
    sizes = ("--steps", "2", "--frame", "64", "--resize", "0")
    listed = read_lists(root, {"train": root / "train.txt"}).videos
    rows = listed.set_index("name").loc[paths].reset_index()
    return Digits(
        (*map(str, given), *sizes), FrameConfig(2, 64), tuple(clips_of(rows)), tuple(labels)
    )


@pytest.fixture(scope="session")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the bundles ``glance`` and ``local``."""
    root = tmp_path_factory.mktemp("encoders")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for name, encoder in (
            ("glance", make_encoder("small_glance", 12)),
            ("local", make_encoder("small_local")),
        ):
            write_bundle(root / name, "encoder", encoder.config, encoder)
    return root
