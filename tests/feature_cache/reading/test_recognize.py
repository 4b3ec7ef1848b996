"""`recognize_videos`: one result per file, in order, with times that are measured."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, make_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from recognizers import S, assert_recognized, make_frames, make_recognizer

from focusgym.feature_cache import Clip, VideoError, read_frames, recognize_videos
from focusgym.feature_cache.videos.mp4 import write_mp4
from focusgym.recognizer import (
    BundleError,
    FrameConfig,
    Recognition,
    VideoRecognizer,
    read_recognizer,
    typed,
)

N_VIDEOS, BATCH = 5, 2


@pytest.fixture
def videos(tmp_path: Path) -> list[Path]:
    """Five videos of twelve frames; the second is none."""
    frames = make_frames(N_VIDEOS, 12, side=2 * S).permute(0, 1, 3, 4, 2).contiguous().numpy()
    for i, video in enumerate(frames):
        pixels: NDArray[np.uint8] = video
        write_mp4(pixels, tmp_path / f"{i}.mp4")
    (tmp_path / "1.mp4").write_text("no video")
    return [tmp_path / f"{i}.mp4" for i in range(N_VIDEOS)]


def test_each_video_is_recognized_as_if_alone(videos: list[Path]) -> None:
    recognizer = make_recognizer(skips=0.4)
    assert recognizer.frames is not None
    recognized = list(recognize_videos(recognizer, videos, BATCH))
    assert len(recognized) == N_VIDEOS
    for path, each in zip(videos, recognized, strict=True):
        if path.stem == "1":
            assert isinstance(each, VideoError)
            continue
        assert not isinstance(each, VideoError)
        frames, view = read_frames(Clip(str(path)), recognizer.frames)
        # A batch may round otherwise in the encoders: then a stored feature moves by 2⁻¹¹.
        assert_recognized(each.recognition, recognizer(frames[None]), atol=1e-3)
        assert each.frame_indices.tolist() == view.frame_indices.tolist()


def test_a_video_whose_predictions_are_no_numbers_does_not_stop_the_others(
    videos: list[Path],
) -> None:
    recognizer = make_recognizer(skips=0.4)
    before = list(recognize_videos(recognizer, videos, BATCH))
    assert not isinstance(before[3], VideoError)
    of_one = before[3].recognition.logits

    def spoil(f_c: object, inputs: object, logits: torch.Tensor) -> torch.Tensor:
        near = (logits - of_one).abs().amax(dim=(1, 2)) < 1e-3
        return logits.masked_fill(near[:, None, None], torch.inf)

    recognizer.classifier.register_forward_hook(spoil)
    recognized = list(recognize_videos(recognizer, videos, BATCH))
    for path, one, other in zip(videos, recognized, before, strict=True):
        if path.stem in "13":
            assert isinstance(one, VideoError)
        else:
            assert not isinstance(one, VideoError)
            assert not isinstance(other, VideoError)
            assert_recognized(one.recognition, other.recognition)
    message = f"{videos[3]}: prediction 0, counted from 0, is NaN or infinite: a wei"
    assert str(recognized[3]).startswith(message)
    assert str(recognized[1]) == str(before[1])


def test_times_are_those_of_decoding_and_of_the_batch(
    videos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    recognizer = make_recognizer()

    def slow_read(*args: object) -> object:
        time.sleep(0.05)
        return read_frames(*args)  # type: ignore[arg-type]

    run, sizes = recognizer.forward, []

    def slow_run(frames: torch.Tensor) -> Recognition:
        time.sleep(0.2)
        sizes.append(len(frames))
        return run(frames)

    monkeypatch.setattr("focusgym.feature_cache.reading.recognize.read_frames", slow_read)
    monkeypatch.setattr(recognizer, "forward", slow_run)
    start = time.perf_counter()
    recognized = [
        each
        for each in recognize_videos(recognizer, videos, BATCH)
        if not isinstance(each, VideoError)
    ]
    whole_s = time.perf_counter() - start
    assert sizes == [1, 2, 1], "the second of the first batch cannot be read"
    assert all(0.05 <= each.decode_s < whole_s for each in recognized)
    spent = [each.recognize_s for each in recognized]
    assert spent[1] == spent[2]
    for n, share in zip((1, 2, 2, 1), spent, strict=True):
        assert 0.2 <= n * share < whole_s
    assert sum(spent) < whole_s


def test_frames_of_an_unknown_kind_are_refused(videos: list[Path]) -> None:
    recognizer = make_recognizer()
    recognizer.frames = None
    with pytest.raises(ValueError, match="does not know how its frames are prepared: load it from"):
        list(recognize_videos(recognizer, videos))


@dataclass(frozen=True)
class ColoursConfig:
    n_classes: int
    frames: FrameConfig


class Colours(VideoRecognizer):
    """A user's own kind: it predicts once, from the mean colour of a video."""

    frames: FrameConfig

    def __init__(self, config: ColoursConfig) -> None:
        super().__init__(config.n_classes, frames=config.frames)
        self.config = config
        self.head = torch.nn.Linear(3, config.n_classes)

    @torch.no_grad()
    def forward(self, frames: torch.Tensor) -> Recognition:
        logits = self.head(frames.float().mean(dim=(1, 3, 4)) / 255)
        return Recognition.of_videos(logits, torch.full((len(frames),), self.cost).double())

    @property
    def cost(self) -> float:
        return 3 * self.n_classes / 1e9

    def full_frames_gmacs(self) -> float:
        return self.cost

    def describe(self) -> ColoursConfig:
        return self.config

    @classmethod
    def assemble(cls, content: Mapping[str, Any]) -> Colours:
        return cls(typed(ColoursConfig, content))


def test_a_recognizer_of_your_own_is_read_by_its_name(
    videos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bundle does not import it: it may be somebody else's bundle."""
    sys.modules.setdefault(__name__, sys.modules[Colours.__module__])
    recognizer = Colours(ColoursConfig(4, FrameConfig(3, S, S)))
    recognizer.save(tmp_path / "mine", metrics={"accuracy": 0.5})
    again = read_recognizer(tmp_path / "mine")
    assert type(again) is Colours
    weight, bias = (parameter.detach().double() for parameter in recognizer.head.parameters())
    for video, recognized in zip(videos[2:], recognize_videos(again, videos[2:]), strict=True):
        assert not isinstance(recognized, VideoError)
        frames, _ = read_frames(Clip(str(video)), recognizer.frames)
        colour = torch.tensor([frames[:, channel].double().mean() / 255 for channel in range(3)])
        expected = [float(row @ colour + b) for row, b in zip(weight, bias, strict=True)]
        assert recognized.recognition.logits[0, 0].tolist() == pytest.approx(expected, abs=1e-5)
        assert recognized.recognition.gmacs.tolist() == [[pytest.approx(12e-9)]]
        assert recognized.recognition.segments.tolist() == [[-1]]
    path = tmp_path / "mine" / "bundle.json"
    content = json.loads(path.read_text())
    assert content["config"]["recognizer"] == f"{__name__}:Colours"
    for name, message in (
        ("antigravity:Mine", "which a file may not import: import antigravity first"),
        (f"{__name__}:BundleError", "must be a class derived from focusgym.recognizer.VideoRec"),
        ("cube", "did you mean 'cubes'"),
        (None, "recognizer must be a text; got None"),
        ("cubes", "cubes must be of the kind cubes; got None"),
    ):
        content["config"]["recognizer"] = name
        path.write_text(json.dumps(content))
        with pytest.raises(BundleError, match=f"mine: .*{message}"):
            read_recognizer(tmp_path / "mine")
    assert "antigravity" not in sys.modules

    class Hidden(Colours):
        """No name finds it."""

    # Of a program that is run: another one has another main module.
    own = type("Own", (Colours,), {"__module__": "__main__", "__qualname__": "Own"})
    for kind in (Hidden, own):
        with pytest.raises(ValueError, match="define the class at the top of a module"):
            kind(recognizer.config).save(tmp_path / "hidden")
    taken = make_dataclass("Taken", [("recognizer", str)])("blue")
    monkeypatch.setattr(Colours, "describe", lambda self: taken)
    with pytest.raises(ValueError, match="without a field 'recognizer', .* got 'blue': give the"):
        recognizer.save(tmp_path / "hidden")
    assert not (tmp_path / "hidden").exists()
