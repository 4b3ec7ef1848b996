from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from focusgym.feature_cache import FrameConfig, VideoError, read_frames, read_many, sample_frames
from focusgym.feature_cache.digits import write_mp4


def clip(path: Path, n: int = 9, height: int = 48, width: int = 64) -> np.ndarray:
    """Write a clip in which the grey level of frame i is 10 + 20·i."""
    levels = (10 + 20 * np.arange(n, dtype=np.uint8))[:, None, None, None]
    frames = np.broadcast_to(levels, (n, height, width, 3)).copy()
    write_mp4(frames, path)
    return frames


def test_sampling_by_hand() -> None:
    assert sample_frames(12, 6).tolist() == [1, 3, 5, 7, 9, 11]
    assert sample_frames(30, 4).tolist() == [3, 11, 18, 26]
    assert sample_frames(2, 4).tolist() == [0, 0, 1, 1]


@given(st.integers(1, 500), st.integers(1, 64))
def test_samples_are_the_middles_of_equal_segments(n_frames: int, steps: int) -> None:
    indices = sample_frames(n_frames, steps)
    for k, index in enumerate(indices):
        # floor((2k+1)·n / 2T) in integers; floats may fall on the other side of a whole number.
        exact = (2 * k + 1) * n_frames // (2 * steps)
        assert abs(int(index) - exact) <= ((2 * k + 1) * n_frames % (2 * steps) == 0)
    assert indices.min() >= 0
    assert indices.max() < n_frames


def test_frames_are_the_sampled_ones(tmp_path: Path) -> None:
    clip(tmp_path / "a.mp4", height=64)
    frames, indices = read_frames(tmp_path / "a.mp4", FrameConfig(3, 64))
    assert indices.tolist() == [1, 4, 7]
    assert frames.dtype == torch.uint8
    assert frames.shape == (3, 3, 64, 64)
    levels = frames.float().mean((1, 2, 3))
    np.testing.assert_allclose(levels, [30, 90, 150], atol=3)


def test_the_short_side_is_resized_and_the_centre_cropped(tmp_path: Path) -> None:
    frames = np.zeros((3, 40, 80, 3), dtype=np.uint8)
    frames[:, :, 20:60] = 200  # the central square is bright, the rest black
    write_mp4(frames, tmp_path / "a.mp4")
    seen, _ = read_frames(tmp_path / "a.mp4", FrameConfig(1, 20, resize_px=20))
    assert seen.shape == (1, 3, 20, 20)
    assert seen[..., 2:-2].float().mean() == pytest.approx(200, abs=4)
    wide, _ = read_frames(tmp_path / "a.mp4", FrameConfig(1, 20, resize_px=40))
    assert wide.float().mean() == pytest.approx(200, abs=4)


def test_many_videos_come_in_order(tmp_path: Path) -> None:
    for n in range(9, 0, -1):
        clip(tmp_path / f"{n}.mp4", n=n, height=64)
    paths = [str(tmp_path / f"{n}.mp4") for n in range(1, 10)]
    found = [indices.max() for _, indices in read_many(paths, FrameConfig(9, 64))]
    assert found == list(range(9))


def test_unreadable_videos_are_named(tmp_path: Path) -> None:
    config = FrameConfig(2, 64)
    with pytest.raises(VideoError, match=r"gone\.mp4: no such video file: check the path"):
        read_frames(tmp_path / "gone.mp4", config)
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("not a video")
    for name in ("empty", "text"):
        with pytest.raises(
            VideoError, match=rf"{name}\.mp4 cannot be decoded .*: replace the file"
        ):
            read_frames(tmp_path / f"{name}.mp4", config)
    clip(tmp_path / "a.mp4")
    with pytest.raises(VideoError, match=r"frames are 64×48 px, expected 64×64: set resize_px"):
        read_frames(tmp_path / "a.mp4", config)
    with pytest.raises(VideoError, match="gone"):
        list(read_many([str(tmp_path / "gone.mp4")], config))


def test_sizes_that_cannot_work_are_refused() -> None:
    with pytest.raises(ValueError, match="steps and frame_px must be positive; got 0, 64"):
        FrameConfig(0, 64)
    with pytest.raises(ValueError, match="resize_px must be at least frame_px=64; got 32"):
        FrameConfig(1, 64, 32)
