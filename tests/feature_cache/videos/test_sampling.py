from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from focusgym.feature_cache import AugmentConfig, draw_crop, draw_frames, sample_frames
from focusgym.recognizer import FrameConfig


def config(steps: int, short_videos: str = "repeat_last") -> FrameConfig:
    return FrameConfig(steps, 224, 256, short_videos)


def test_sampling_by_hand() -> None:
    assert sample_frames(12, config(6)).tolist() == [1, 3, 5, 7, 9, 11]
    assert sample_frames(30, config(4)).tolist() == [3, 11, 18, 26]
    assert sample_frames(4, config(4)).tolist() == [0, 1, 2, 3]


def test_short_videos_by_hand() -> None:
    rng = np.random.default_rng(0)
    for short_videos, expected in (("repeat_last", [0, 1, 1, 1]), ("repeat_first", [0] * 4)):
        short = config(4, short_videos)
        assert sample_frames(2, short).tolist() == expected
        assert draw_frames(2, short, rng).tolist() == expected


def test_segments_of_several_frames_by_hand() -> None:
    """Their frames are those of as many segments of one frame, in their order."""
    three = replace(config(2), segment_frames=3)
    assert sample_frames(12, three).tolist() == [[1, 3, 5], [7, 9, 11]]
    assert sample_frames(4, three).tolist() == [[0, 1, 2], [3, 3, 3]]
    first = replace(three, short_videos="repeat_first")
    assert sample_frames(5, first).tolist() == [[0, 0, 0]] * 2
    drawn = draw_frames(60, three, np.random.default_rng(0))
    alone = draw_frames(60, config(6), np.random.default_rng(0))
    assert drawn.tolist() == alone.reshape(2, 3).tolist()
    assert (drawn // 10).tolist() == [[0, 1, 2], [3, 4, 5]]


@given(st.integers(1, 500), st.integers(1, 64))
def test_samples_are_the_middles_of_equal_segments(n_frames: int, steps: int) -> None:
    indices = sample_frames(n_frames, config(steps))
    if n_frames >= steps:
        for k, index in enumerate(indices):
            # floor((2k+1)·n / 2T) in integers; floats may fall on the other side of a whole number.
            exact = (2 * k + 1) * n_frames // (2 * steps)
            assert abs(int(index) - exact) <= ((2 * k + 1) * n_frames % (2 * steps) == 0)
    assert len(indices) == steps
    assert indices.min() >= 0
    assert indices.max() < n_frames


@given(st.integers(1, 500), st.integers(1, 64), st.integers(0, 2**32))
def test_draws_stay_in_their_segment(n_frames: int, steps: int, seed: int) -> None:
    indices = draw_frames(n_frames, config(steps), np.random.default_rng(seed))
    if n_frames >= steps:
        assert (indices // (n_frames // steps)).tolist() == list(range(steps))
    assert indices.max() < n_frames


def test_every_frame_of_a_segment_is_drawn_alike() -> None:
    rng = np.random.default_rng(0)
    draws = np.stack([draw_frames(23, config(4), rng) for _ in range(5000)])
    for k in range(4):  # segments of 5; frames 20 to 22 are never drawn
        counts = np.bincount(draws[:, k], minlength=23)
        assert np.flatnonzero(counts).tolist() == list(range(5 * k, 5 * k + 5))
        assert abs(counts[counts > 0] - 1000).max() < 130


def test_crops_are_the_thirteen_places_of_ten_sizes() -> None:
    rng = np.random.default_rng(0)
    crops = [draw_crop(341, 256, rng) for _ in range(20000)]
    sizes = {(right - left, bottom - top) for left, top, right, bottom in crops}
    # 256 times 1, .875, .75 and .66; sides at most one scale apart.
    a, b, c, d = 256, 224, 192, 168
    expected = {(a, a), (a, b), (b, a), (b, b), (b, c), (c, b), (c, c), (c, d), (d, c), (d, d)}
    assert sizes == expected
    places = {crop[:2] for crop in crops if (crop[2] - crop[0], crop[3] - crop[1]) == (b, b)}
    # Corners, centre, middles of the edges, and middles of the four quarters.
    x, y = (341 - 224) // 4, (256 - 224) // 4
    corners = {(i * x, j * y) for i in (0, 4) for j in (0, 4)}
    edges = {(2 * x, 0), (2 * x, 4 * y), (0, 2 * y), (4 * x, 2 * y)}
    quarters = {(i * x, j * y) for i in (1, 3) for j in (1, 3)}
    assert places == corners | edges | quarters | {(2 * x, 2 * y)}


@given(st.integers(8, 600), st.integers(8, 600), st.integers(0, 2**32))
def test_crops_lie_in_the_frame(width: int, height: int, seed: int) -> None:
    left, top, right, bottom = draw_crop(width, height, np.random.default_rng(seed))
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height


def test_draws_depend_on_seed_video_and_copy_alone() -> None:
    def draw(seed: int, key: str, view: int) -> int:
        return int(AugmentConfig(4, seed=seed).generator(key, view).integers(2**62))

    drawn = [draw(s, k, v) for s in (0, 1) for k in ("a", "b") for v in (0, 1)]
    assert len(set(drawn)) == 8
    assert draw(1, "b", 1) == drawn[-1]


def test_values_that_cannot_work_are_refused() -> None:
    with pytest.raises(ValueError, match="views must be at least 1; got 0"):
        AugmentConfig(0)
    with pytest.raises(ValueError, match="seed of the views must not be negative; got -1"):
        AugmentConfig(1, seed=-1)
