"""Segments in which f_G has frames of its own, taken from the whole video as f_L's are."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from focusgym.feature_cache import draw_frames, sample_frames
from focusgym.recognizer import FrameConfig

# 8 frames for f_G and 12 for f_L, of a video that is one segment.
CLIP = FrameConfig(1, 64, segment_frames=12, glance_frames=8, own_glance=True)


def middles(n_frames: int, parts: int) -> list[int]:
    """The frame in the middle of each of equal parts, in exact fractions."""
    return [int(Fraction(n_frames * (2 * k + 1), 2 * parts)) for k in range(parts)]


def test_frames_by_hand() -> None:
    """48 frames: parts of 6 for f_G, which comes first, and of 4 for f_L."""
    glance, look = [*range(3, 48, 6)], [*range(2, 48, 4)]
    assert sample_frames(48, CLIP).tolist() == [[*glance, *look]]
    assert (middles(48, 8), middles(48, 12)) == (glance, look)


@given(st.integers(20, 300), st.integers(1, 3), st.integers(1, 6), st.integers(1, 6))
def test_both_are_the_middles_of_equal_parts(n: int, steps: int, own: int, frames: int) -> None:
    config = FrameConfig(steps, 64, segment_frames=frames, glance_frames=own, own_glance=True)
    indices = sample_frames(n, config)
    assert indices.shape == config.shape == (steps, own + frames)
    for columns, count in ((indices[:, :own], own), (indices[:, own:], frames)):
        expected = middles(n, steps * count)
        for index, middle, k in zip(columns.flatten(), expected, range(len(expected)), strict=True):
            is_whole_number = Fraction(n * (2 * k + 1), 2 * steps * count).denominator == 1
            assert int(index) in (
                (middle, middle - 1) if is_whole_number else (middle,)
            )  # floats round


def test_two_segments_by_hand() -> None:
    """Each has its own part of both: f_G reads 2 frames, f_L 3."""
    config = FrameConfig(2, 64, segment_frames=3, glance_frames=2, own_glance=True)
    assert sample_frames(24, config).tolist() == [[3, 9, 2, 6, 10], [15, 21, 14, 18, 22]]
    backwards = replace(config, steps=3, order="coarse_to_fine")  # 1, 0, 2
    rows = sample_frames(36, replace(config, steps=3))
    assert sample_frames(36, backwards).tolist() == rows[[1, 0, 2]].tolist()


def test_short_videos_by_hand() -> None:
    """Each set by itself: a video of 9 frames is long enough for f_G alone."""
    glance = middles(9, 8)
    rng = np.random.default_rng(0)
    for short_videos, look in (
        ("repeat_first", [0] * 12),
        ("repeat_last", [0, 1, 2, 3, 4, 5, 6, 7, 8, 8, 8, 8]),
    ):
        config = replace(CLIP, short_videos=short_videos)
        assert sample_frames(9, config).tolist() == [[*glance, *look]]
        assert draw_frames(9, config, rng).tolist() == [[*range(8), *look]]
    first, last = (replace(CLIP, short_videos=f"repeat_{which}") for which in ("first", "last"))
    assert sample_frames(3, first).tolist() == [[0] * 20]
    assert sample_frames(3, last).tolist() == [[0, 1, *[2] * 6, 0, 1, *[2] * 10]]


def test_draws_are_one_of_each_part() -> None:
    """All frames of each part alike, those of f_G and f_L independently of each other."""
    rng = np.random.default_rng(0)
    config = FrameConfig(2, 64, segment_frames=3, glance_frames=2, own_glance=True)
    drawn = np.stack([draw_frames(26, config, rng) for _ in range(2000)])  # (2000, T, 5)
    for columns, parts, length in ((drawn[:, :, :2], 4, 6), (drawn[:, :, 2:], 6, 4)):
        columns = columns.reshape(2000, parts)
        assert (columns // length == np.arange(parts)).all()
        for k in range(parts):
            counts = np.bincount(columns[:, k] - k * length, minlength=length)
            assert abs(counts - 2000 / length).max() < 6 * (2000 / length) ** 0.5
    pairs = np.corrcoef(drawn[:, 0, 0], drawn[:, 0, 2])[0, 1]
    assert abs(pairs) < 0.1


def test_what_each_network_reads() -> None:
    assert (CLIP.shape, CLIP.read_frames, CLIP.counts) == ((1, 20), 20, (8, 12))
    assert CLIP.glanced == tuple(range(8))
    frames = torch.arange(2 * 20).view(2, 20, 1, 1, 1).expand(2, 20, 3, 2, 2)
    glance, look = CLIP.glance(frames), CLIP.look(frames)
    assert glance[..., 0, 0, 0].tolist() == [[*range(8)], [*range(20, 28)]]
    assert look[..., 0, 0, 0].tolist() == [[*range(8, 20)], [*range(28, 40)]]
    assert CLIP.middle(frames)[:, 0, 0, 0].tolist() == [8 + 6, 28 + 6]
    assert CLIP.middle(sample_frames(48, CLIP)).tolist() == [2 + 4 * 6]
    one = FrameConfig(3, 64, glance_frames=1, own_glance=True)  # a frame for each
    assert (one.shape, one.glanced) == ((3, 2), (0,))
    assert sample_frames(12, one).tolist() == [[2, 2], [6, 6], [10, 10]]
    assert one.middle(sample_frames(12, one)).tolist() == [2, 6, 10]
    assert one.look(frames[:, :2]).shape == (2, 1, 3, 2, 2)
    shared = replace(CLIP, own_glance=False)
    assert shared.look(frames) is frames
    assert shared.read_frames == 12
    # As many as f_L reads are frames of their own all the same.
    same = replace(CLIP, glance_frames=12)
    assert (same.glance_frames, same.shape) == (12, (1, 24))


@pytest.mark.parametrize(
    "config",
    [
        CLIP,
        replace(CLIP, glance_frames=12),
        FrameConfig(3, 64, glance_frames=1, own_glance=True),
        FrameConfig(3, 64, segment_frames=4, glance_frames=2),
        FrameConfig(3, 64),
    ],
)
def test_what_manifests_say_comes_back(config: FrameConfig) -> None:
    description = config.describe()
    assert FrameConfig(**description) == config
    assert ("own_glance" in description) == config.own_glance


@pytest.mark.parametrize("glance_frames", [None, 0, -1])
def test_no_frames_for_the_glance_are_refused(glance_frames: Any) -> None:
    message = f"own_glance needs glance_frames of at least 1, .*; got {glance_frames}"
    with pytest.raises(ValueError, match=message):
        FrameConfig(1, 64, segment_frames=12, glance_frames=glance_frames, own_glance=True)
    with pytest.raises(ValueError, match=r"in 1\.\.4, .*; got 8: .* set own_glance"):
        FrameConfig(1, 64, segment_frames=4, glance_frames=8)
