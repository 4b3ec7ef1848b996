"""`recognize_videos`: one result per file, in order, with times that are measured."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from recognizers import S, assert_recognized, make_frames, make_recognizer

from focusgym.feature_cache import Clip, VideoError, read_frames, recognize_videos
from focusgym.feature_cache.videos.mp4 import write_mp4
from focusgym.recognizer import Recognition

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
    found = list(recognize_videos(recognizer, videos, BATCH))
    assert len(found) == N_VIDEOS
    for path, each in zip(videos, found, strict=True):
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
    found = list(recognize_videos(recognizer, videos, BATCH))
    for path, one, other in zip(videos, found, before, strict=True):
        if path.stem in "13":
            assert isinstance(one, VideoError)
        else:
            assert not isinstance(one, VideoError)
            assert not isinstance(other, VideoError)
            assert_recognized(one.recognition, other.recognition)
    message = f"{videos[3]}: prediction 0, counted from 0, is NaN or infinite: a wei"
    assert str(found[3]).startswith(message)
    assert str(found[1]) == str(before[1])


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
    found = [
        each
        for each in recognize_videos(recognizer, videos, BATCH)
        if not isinstance(each, VideoError)
    ]
    whole_s = time.perf_counter() - start
    assert sizes == [1, 2, 1], "the second of the first batch cannot be read"
    assert all(0.05 <= each.decode_s < whole_s for each in found)
    spent = [each.recognize_s for each in found]
    assert spent[1] == spent[2]
    for n, share in zip((1, 2, 2, 1), spent, strict=True):
        assert 0.2 <= n * share < whole_s
    assert sum(spent) < whole_s


def test_frames_of_an_unknown_kind_are_refused(videos: list[Path]) -> None:
    recognizer = make_recognizer()
    recognizer.frames = None
    with pytest.raises(ValueError, match="does not know how its frames are prepared: load it from"):
        list(recognize_videos(recognizer, videos))
