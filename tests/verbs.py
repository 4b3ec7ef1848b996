"""What tests of the verbs that train share: videos, bundles, and a look at what `fit` is given."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from focusgym.feature_cache import (
    AugmentConfig,
    Clip,
    DigitsConfig,
    clips_of,
    make_digits,
    read_frames,
    read_lists,
)
from focusgym.recognizer import (
    FitConfig,
    Fitted,
    FrameConfig,
    PolicyConfig,
    PolicyNetwork,
    fit,
    read_bundle,
    write_bundle,
)
from focusgym.runs.cli import main


@dataclass(frozen=True)
class Digits:
    """Twelve training videos, and copies of them to select on: what is learned is seen to help.

    Attributes:
        options: Of the command line, for these videos and frames.
        frames: Which frames that means.
        clips: Of the training videos, in order; those of the copies have the same pixels.
        labels: Of both: 1 for the brighter half.
    """

    options: tuple[str, ...]
    frames: FrameConfig
    clips: tuple[Clip, ...]
    labels: tuple[int, ...]

    @classmethod
    def make(cls, root: Path) -> Digits:
        """Write the videos and their lists."""
        table = make_digits(DigitsConfig(n_train=12, n_val=1, n_test=1, n_frames=6), root)
        paths = table["path"][table["split"] == "train"].tolist()
        (root / "again").mkdir()
        videos = [read_frames(Clip(str(root / path)), FrameConfig(2, 64))[0] for path in paths]
        bright = [float(frames.float().mean()) for frames in videos]
        labels = [int(each > sorted(bright)[5]) for each in bright]
        for split in ("train", "val"):
            names = paths if split == "train" else [f"again/{i}.mp4" for i in range(len(paths))]
            for path, name in zip(paths, names, strict=True):
                if name != path:
                    shutil.copy(root / path, root / name)
            lines = [f"{name} 6 {label}" for name, label in zip(names, labels, strict=True)]
            (root / f"{split}.txt").write_text("\n".join(lines))
        lists = {split: root / f"{split}.txt" for split in ("train", "val")}
        arguments = ("--videos", root, "--train", lists["train"], "--val", lists["val"])
        sizes = ("--steps", "2", "--frame", "64", "--resize", "0")
        listed = read_lists(root, lists).videos
        clips = clips_of(listed[listed["split"] == "train"])
        return cls((*map(str, arguments), *sizes), FrameConfig(2, 64), tuple(clips), tuple(labels))

    def pixels(self, augment: AugmentConfig | None = None, epoch: int = 0) -> Tensor:
        """Return the frames ``(12, T, 3, S, S)`` of an epoch."""
        read = [read_frames(clip, self.frames, augment, epoch)[0] for clip in self.clips]
        return torch.stack(read)


def assert_same_pixels(pixels: Tensor, expected: Tensor) -> None:
    """Resizing in another thread may round another way: by one grey level."""
    assert pixels.dtype == expected.dtype == torch.uint8
    torch.testing.assert_close(pixels.int(), expected.int(), rtol=0, atol=1)


@dataclass
class Call:
    """What a verb called `fit` with, the stage as it was before, and what came of it."""

    stage: Any
    train: Any
    validation: Any
    settings: FitConfig
    seed: list[int]
    kept: Fitted

    @staticmethod
    def spy(calls: list[Call]) -> Callable[..., Fitted]:
        """Return a `fit` that also notes its calls."""

        def spy(stage: Any, train: Any, val: Any, settings: FitConfig, **keywords: Any) -> Fitted:
            before = copy.deepcopy(stage)
            kept = fit(stage, train, val, settings, **keywords)
            calls.append(Call(before, train, val, settings, keywords["seed"], kept))
            return kept

        return spy

    def again(self) -> Any:
        """Train a copy of the stage with `fit` itself: the same comes of it."""
        stage = copy.deepcopy(self.stage)
        data = (self.train, self.validation)
        assert fit(stage, *data, self.settings, name="again", seed=self.seed) == self.kept
        return stage


def run_fit(*args: object) -> None:
    main(["fit", *map(str, args)])


def refused(capsys: pytest.CaptureFixture[str], *args: object) -> str:
    """Run the verb, which ends with exit status 2; return the line that it says beside bars."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        run_fit(*args)
    assert caught.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    messages = [line for line in lines if line and "epoch/s" not in line]
    assert len(messages) == 1
    assert messages[0].startswith("focusgym: ")
    return messages[0]


@torch.no_grad()
def make_policy(path: Path, threshold: float | None, maps: Tensor, options: int = 9) -> Path:
    """Write a policy of random weights, whose choices for these maps differ."""
    torch.manual_seed(2)
    height, width, channels = maps.shape[2:]
    sizes = PolicyConfig(height, width, channels, options, 4, 8, threshold=threshold)
    policy = PolicyNetwork(sizes).eval()
    for network in (policy, policy.keep) if policy.keep else (policy,):
        outputs = network.actor(network.trunk(maps)[0]).flatten(0, 1)
        scale = 2 / outputs.std(dim=0)
        network.actor.weight.mul_(scale[:, None])
        network.actor.bias.sub_(outputs.mean(dim=0)).mul_(scale)
    write_bundle(path, "policy", policy.config, policy, "of some cache")
    return path


def single_batch(samples: Any, epoch: int = 0) -> tuple[Tensor, ...]:
    """All samples in one batch."""
    (batch,) = samples.batches(epoch, [torch.arange(samples.n)])
    return tuple(batch)


def assert_kept(path: Path, kind: str, network: nn.Module, kept: Fitted) -> None:
    """Compare a bundle with the network and the numbers that a training ended with."""
    bundle = read_bundle(path, kind)
    assert bundle.metrics == {name: float(value) for name, value in asdict(kept).items()}
    state = network.state_dict()
    assert bundle.weights.keys() == state.keys()
    assert all(torch.equal(value, state[name]) for name, value in bundle.weights.items())


def contents(folder: Path) -> dict[str, bytes]:
    """Everything in a folder, by path; what names the folder itself says so instead."""
    itself = str(folder.resolve()).encode()
    files = (path for path in folder.rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): path.read_bytes().replace(itself, b"ITSELF")
        for path in files
    }


def run_recognize(
    capsys: pytest.CaptureFixture[str], *args: object, status: int = 0
) -> tuple[list[str], str]:
    """Run ``focusgym recognize``; return the lines that are printed, and what is said of errors."""
    ends = pytest.raises(SystemExit) if status else nullcontext()
    with ends as caught:
        main(["recognize", *map(str, args)])
    assert status == (caught.value.code if caught else 0)
    captured = capsys.readouterr()
    return captured.out.splitlines(), captured.err
