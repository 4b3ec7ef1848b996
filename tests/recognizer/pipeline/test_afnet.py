"""AF networks as recognizers: bundles, what a video costs, and refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from focusgym.recognizer import (
    AFNet,
    AFNetConfig,
    AFNetRecognizer,
    BundleError,
    FrameConfig,
    PredictionError,
    count_gmacs,
    read_recognizer,
)

T, C, S = 4, 3, 40
FRAMES = FrameConfig(T, S)


def make_recognizer(selection: str = "hard") -> AFNetRecognizer:
    """Make one whose gates keep some frames of `videos` and not others."""
    torch.manual_seed(0)
    network = AFNet(AFNetConfig("small", C, T, selection=selection, keep_score=1.0))
    with torch.no_grad():
        for name, value in network.named_parameters():
            if "score.weight" in name:
                value.normal_(0, 3)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.weight.data.uniform_(0.5, 1)
    return AFNetRecognizer(network, frames=FRAMES, classes=("a", "b", "c"))


def videos() -> Tensor:
    rng = torch.Generator().manual_seed(1)
    return torch.randint(256, (3, T, 3, S, S), generator=rng, dtype=torch.uint8)


def test_a_bundle_is_the_recognizer_again(tmp_path: Path) -> None:
    recognizer = make_recognizer()
    recognizer.save(tmp_path / "r", metrics={"gmacs": 1.5})
    again = read_recognizer(tmp_path / "r", fuse=False)
    assert isinstance(again, AFNetRecognizer)
    assert again.describe() == recognizer.describe()
    expected, recognition = recognizer(videos()), again(videos())
    for one, other in zip(vars(expected).values(), vars(recognition).values(), strict=True):
        assert torch.equal(one, other)
    fused = read_recognizer(tmp_path / "r")
    near = fused(videos())
    torch.testing.assert_close(near.logits, expected.logits, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(near.gmacs, expected.gmacs)
    assert isinstance(fused, AFNetRecognizer)
    with pytest.raises(ValueError, match="got fused ones: save the recognizer"):
        fused.save(tmp_path / "fused")


@pytest.mark.parametrize("selection", ["hard", "soft"])
def test_a_video_costs_what_torch_counts(selection: str) -> None:
    recognizer, frames = make_recognizer(selection), videos()
    recognition = recognizer(frames)  # and what branches make of zeros, once
    kept = recognizer.look(frames).ran.double().mean()
    assert 0 < kept < 1 if selection == "hard" else kept == 1
    for video, gmacs in zip(frames, recognition.gmacs[:, 0].tolist(), strict=True):
        counted = count_gmacs(lambda video=video: recognizer.look(video[None]))
        assert gmacs == pytest.approx(counted, rel=1e-6)


def test_one_prediction_without_a_place() -> None:
    recognizer, frames = make_recognizer(), videos()
    recognition = recognizer(frames)
    masked = recognizer.network(frames).logits[:, None]
    torch.testing.assert_close(recognition.logits, masked, rtol=1e-4, atol=1e-4)
    assert recognition.logits.shape == (3, 1, C)
    assert (recognition.options == -1).all()
    assert (recognition.segments == -1).all()
    assert not recognition.attended.any()
    assert recognition.fed.all()
    assert [each.logits.shape for each in recognition.videos()] == [(1, 1, C)] * 3
    large = torch.zeros(T, 3, 80, 60, dtype=torch.uint8)
    assert recognizer.prepare(large).shape == (T, 3, S, S)


def test_refusals(tmp_path: Path) -> None:
    recognizer = make_recognizer()
    with pytest.raises(ValueError, match="frames must be uint8"):
        recognizer(videos().float())
    with pytest.raises(ValueError, match=r"frames must be \(B, 4, 3, S, S\)"):
        recognizer(videos()[:, :2])
    several = FrameConfig(T, S, segment_frames=2)
    for frames in (FrameConfig(5, S), several, FrameConfig(T, S, order="halving")):
        with pytest.raises(ValueError, match="read the frames that it was trained on"):
            AFNetRecognizer(recognizer.network, frames=frames)
    with pytest.raises(ValueError, match="expected names of the classifier's 3 classes; got 1"):
        AFNetRecognizer(recognizer.network, frames=FRAMES, classes=["a"])
    recognizer.save(tmp_path / "r")
    path = tmp_path / "r" / "bundle.json"
    intact = path.read_text()
    for key, value in (("afnet", {}), ("classes", [1, 2, 3]), ("afnet", 3), ("frames", None)):
        content = json.loads(intact)
        content["config"][key] = value
        path.write_text(json.dumps(content))
        with pytest.raises(BundleError):
            read_recognizer(tmp_path / "r")
    broken = make_recognizer()
    torch.nn.init.constant_(broken.network.head.bias, float("nan"))
    with pytest.raises(PredictionError, match="NaN or infinite"):
        broken(videos())
