"""From decoded frames to S×S: sizes and places by hand, values against Pillow and plain means."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from focusgym.recognizer import (
    FrameConfig,
    centre_crop,
    coarse_to_fine,
    fit_frames,
    resize_frames,
)
from focusgym.recognizer.encoders.config import halving


def pictures(height: int, width: int, n: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(height + width)
    return torch.randint(0, 256, (n, 3, height, width), dtype=torch.uint8, generator=generator)


def test_values_that_cannot_work_are_refused() -> None:
    with pytest.raises(ValueError, match="steps and frame_px must be positive; got 0, 64"):
        FrameConfig(0, 64)
    with pytest.raises(ValueError, match="steps and frame_px must be positive; got 1, 0"):
        FrameConfig(1, 0)
    with pytest.raises(ValueError, match="resize_px must be at least frame_px=64; got 32"):
        FrameConfig(1, 64, 32)
    with pytest.raises(ValueError, match="must be one of repeat_last, repeat_first; got 'loop'"):
        FrameConfig(1, 224, 256, "loop")
    with pytest.raises(ValueError, match="must be one of torchvision, pillow; got 'opencv'"):
        FrameConfig(1, 224, 256, resizer="opencv")
    with pytest.raises(ValueError, match="segment_frames must be at least 1; got 0: give 1 where"):
        FrameConfig(1, 64, segment_frames=0)
    for n, read in ((1, 2), (3, 0), (3, 4)):
        with pytest.raises(ValueError, match=rf"glance_frames must be in 1..{n}, .*; got {read}:"):
            FrameConfig(1, 64, segment_frames=n, glance_frames=read)
    with pytest.raises(FrozenInstanceError):
        FrameConfig(1, 64).steps = 2  # type: ignore[misc]


def test_frames_of_segments_by_hand() -> None:
    one = FrameConfig(4, 64)
    assert (one.shape, one.read_frames, one.glanced) == ((4,), 1, (0,))
    assert FrameConfig(4, 64, segment_frames=1, glance_frames=1) == one
    several = FrameConfig(4, 64, segment_frames=5)
    assert (several.shape, several.read_frames) == ((4, 5), 5)
    assert several.glanced == (0, 1, 2, 3, 4)
    assert replace(several, glance_frames=5) == several
    glanced = [replace(several, glance_frames=n).glanced for n in (1, 2, 3, 4)]
    assert glanced == [(2,), (1, 3), (0, 2, 4), (0, 1, 3, 4)]
    frames = torch.arange(4 * 5).reshape(4, 5, 1, 1, 1).expand(4, 5, 3, 2, 2)
    assert several.glance(frames) is frames
    glanced_frames = replace(several, glance_frames=2).glance(frames)
    assert glanced_frames.shape == (4, 2, 3, 2, 2)
    assert glanced_frames[:, :, 0, 0, 0].tolist() == [[1, 3], [6, 8], [11, 13], [16, 18]]
    assert several.middle(frames)[:, 0, 0, 0].tolist() == [2, 7, 12, 17]
    assert torch.equal(one.middle(frames[:, 0]), frames[:, 0])
    for config in (one, several, replace(several, glance_frames=2)):
        assert FrameConfig(**config.describe()) == config


@pytest.mark.parametrize(
    ("size", "resized"),
    [((40, 60), (36, 54)), ((60, 40), (54, 36)), ((100, 141), (36, 50)), ((20, 20), (36, 36))],
)
def test_the_short_side_is_resized(size: tuple[int, int], resized: tuple[int, int]) -> None:
    """The long side in proportion, rounded down; what Pillow makes of it, to one grey level."""
    frames = pictures(*size)
    before = frames.clone()
    channels_last = frames.contiguous(memory_format=torch.channels_last)  # as they are decoded
    for resizer, levels in (("torchvision", 1), ("pillow", 0)):
        config = FrameConfig(1, 32, 36, resizer=resizer)
        resized_frames = resize_frames(frames, config)
        assert resized_frames.dtype == torch.uint8
        assert tuple(resized_frames.shape) == (2, 3, *resized)
        assert torch.equal(frames, before)
        for frame, expected in zip(resized_frames, frames, strict=True):
            picture = Image.fromarray(expected.permute(1, 2, 0).numpy())
            by_pillow = picture.resize(resized[::-1], Image.Resampling.BILINEAR)
            difference = frame.permute(1, 2, 0).numpy().astype(int) - np.asarray(by_pillow)
            assert abs(difference).max() <= levels
        again = resize_frames(channels_last, config)
        assert (again.int() - resized_frames.int()).abs().max() <= levels


def test_frames_of_the_right_size_are_not_touched() -> None:
    frames = pictures(64, 64)
    for config in (FrameConfig(1, 64), FrameConfig(1, 64, 64)):
        assert torch.equal(resize_frames(frames, config), frames)
        assert torch.equal(fit_frames(frames, config), frames)


@pytest.mark.parametrize("size", [(64, 63), (63, 64), (65, 65), (128, 128)])
def test_without_resizing_other_sizes_are_refused(size: tuple[int, int]) -> None:
    height, width = size
    message = f"frames are {width}×{height} px, expected 64×64: set resize_px"
    for function in (resize_frames, fit_frames):
        with pytest.raises(ValueError, match=message):
            function(pictures(*size), FrameConfig(1, 64))


def test_the_central_square_by_hand() -> None:
    assert centre_crop(342, 256, 224) == (59, 16, 283, 240)
    assert centre_crop(256, 341, 224) == (16, 58, 240, 282)  # 58.5 is rounded to even
    assert centre_crop(257, 259, 256) == (0, 2, 256, 258)  # 0.5 and 1.5
    assert centre_crop(224, 224, 224) == (0, 0, 224, 224)


@given(st.integers(1, 300), st.integers(0, 300), st.integers(0, 300))
def test_the_crop_is_central_and_in_the_frame(side: int, more_x: int, more_y: int) -> None:
    width, height = side + more_x, side + more_y
    left, top, right, bottom = centre_crop(width, height, side)
    assert (right - left, bottom - top) == (side, side)
    for low, high in ((left, width - right), (top, height - bottom)):
        assert low >= 0
        assert high >= 0
        assert abs(low - high) <= 1


@pytest.mark.parametrize("resizer", ["torchvision", "pillow"])
def test_fitting_is_resizing_and_the_central_crop(resizer: str) -> None:
    config = FrameConfig(1, 20, 24, resizer=resizer)
    frames = pictures(48, 80)
    resized = resize_frames(frames, config)
    assert tuple(resized.shape[-2:]) == (24, 40)
    fitted = fit_frames(frames, config)
    assert torch.equal(fitted, resized[..., 2:22, 10:30])
    assert fitted.is_contiguous()
    # Halved exactly, the anti-aliased bilinear filter of a constant is the constant.
    flat = torch.arange(2, dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 3, 48, 80) * 77
    assert torch.equal(fit_frames(flat, config), flat[..., :20, :20])
    # Any leading axes: of videos and frames, or none. They decide how frames lie in memory, and
    # with that which of torch's ways to resize is taken: to one grey level.
    for shaped, expected in (
        (frames[0], fitted[0]),
        (frames[None, :, None], fitted[None, :, None]),
    ):
        refitted = fit_frames(shaped, config)
        assert refitted.shape == expected.shape
        assert (refitted.int() - expected.int()).abs().max() <= 1


def test_coarse_to_fine_is_the_published_order_of_ten() -> None:
    assert coarse_to_fine(10) == (5, 0, 9, 2, 7, 4, 6, 3, 8, 1)


@given(st.integers(1, 200))
def test_every_prefix_is_spread_over_the_video(steps: int) -> None:
    """No gap is more than twice as long as another one, ends aside."""
    order = coarse_to_fine(steps)
    assert sorted(order) == list(range(steps))
    for n in range(4, steps + 1):
        gaps = np.diff(sorted(order[:n]))
        assert gaps.max() <= 2 * gaps.min() + 1


def test_halving_is_the_released_order_of_sixteen() -> None:
    order = (7, 0, 15, 3, 11, 1, 5, 9, 13, 2, 4, 6, 8, 10, 12, 14)
    assert halving(16) == order
    assert FrameConfig(16, 224, order="halving").segments == order
    assert FrameConfig(3, 224).segments == (0, 1, 2)


@given(st.integers(1, 200))
def test_halving_takes_every_segment_once(steps: int) -> None:
    assert sorted(halving(steps)) == list(range(steps))
