"""Frames in another order than the video's: which are read, and what a cache then holds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from support import small_group
from video_files import plain_decode, write_video

from focusgym.feature_cache import (
    AugmentConfig,
    CacheConfig,
    Clip,
    FeatureCache,
    build_cache,
    draw_frames,
    read_frames,
    read_view,
    sample_frames,
    verify_cache,
)
from focusgym.recognizer import Encoder, FrameConfig, PatchGrid, fit_frames
from focusgym.runs.evaluation.plug_back import true_boxes

PLAIN = FrameConfig(6, 64, 80)
# 0 to 5: the middle, the ends, the middles of both halves, what is left; coarse to fine likewise.
ORDERS = {"halving": [2, 0, 5, 1, 3, 4], "coarse_to_fine": [3, 0, 5, 2, 4, 1]}


@pytest.mark.parametrize("order", ORDERS)
def test_indices_are_those_of_the_video_in_another_order(order: str) -> None:
    here, permutation = replace(PLAIN, order=order), ORDERS[order]
    assert here.segments == tuple(permutation)
    usual = np.array([1, 3, 5, 7, 9, 11])
    assert sample_frames(12, here).tolist() == usual[permutation].tolist()
    for n in (4, 1):  # too short: the last frame again, in the same order
        usual = np.minimum(np.arange(6), n - 1)
        assert sample_frames(n, here).tolist() == usual[permutation].tolist()
    assert sample_frames(3, replace(here, short_videos="repeat_first")).tolist() == [0] * 6
    drawn = draw_frames(60, here, np.random.default_rng(0))
    usual = draw_frames(60, PLAIN, np.random.default_rng(0))
    assert drawn.tolist() == usual[permutation].tolist()
    two = replace(here, segment_frames=2)
    pairs = sample_frames(24, replace(PLAIN, segment_frames=2))
    assert sample_frames(24, two).tolist() == pairs[permutation].tolist()
    assert (np.diff(pairs, axis=1) > 0).all(), "a segment's frames stay in their order"


@pytest.mark.parametrize("order", ORDERS)
def test_frames_of_a_file(order: str, tmp_path: Path) -> None:
    """Read by seeking to and fro, resized and augmented as those in order are."""
    clip = Clip(str(write_video(tmp_path / "a.mp4")))
    here, permutation = replace(PLAIN, order=order), ORDERS[order]
    frames, view = read_frames(clip, here)
    usual, in_order = read_frames(clip, PLAIN)
    assert view.frame_indices.tolist() == in_order.frame_indices[permutation].tolist()
    assert torch.equal(frames, usual[permutation])
    pictures = plain_decode(tmp_path / "a.mp4").pictures
    chosen = torch.from_numpy(pictures[view.frame_indices]).permute(0, 3, 1, 2)
    assert (frames.int() - fit_frames(chosen, PLAIN).int()).abs().float().mean() < 0.5
    assert len({each.numpy().tobytes() for each in frames}) == 6
    assert torch.equal(read_view(clip, here, view), frames)
    augment = AugmentConfig(1, seed=2)
    one, other = (read_frames(clip, config, augment, 3) for config in (here, PLAIN))
    assert torch.equal(one[0], other[0][permutation])
    assert one[1].crop_px == other[1].crop_px


def test_what_a_manifest_says() -> None:
    """In the video's order nothing more than before there were others."""
    assert "order" not in PLAIN.describe()
    described = replace(PLAIN, order="halving").describe()
    assert described == {**PLAIN.describe(), "order": "halving"}
    assert FrameConfig(**described) == replace(PLAIN, order="halving")
    with pytest.raises(ValueError, match="order must be one of video, coarse_to_fine, halving; go"):
        FrameConfig(6, 64, order="backwards")


def test_a_cache_in_another_order(
    videos: pd.DataFrame, encoders: dict[str, Encoder], tmp_path: Path
) -> None:
    """Its features, and true boxes that are found by the frame's number."""
    frames = FrameConfig(5, 64, order="halving")
    config = CacheConfig(frames, (small_group(PatchGrid(64, 28, 2)),))
    root = build_cache(videos, [str(i) for i in range(10)], tmp_path / "cache", encoders, config)
    cache, rows = FeatureCache.open(root), np.arange(5)
    assert cache.frames == frames
    indices = cache.frame_indices(rows)
    assert indices.tolist() == [[3, 0, 5, 1, 4]] * 5  # of 0, 1, 3, 4, 5: the middles of fifths of 6
    pixels, _ = read_frames(Clip(videos["path"][2]), replace(frames, order="video"))
    with torch.no_grad():
        maps = encoders["glance"](pixels).permute(0, 2, 3, 1)[[2, 0, 4, 1, 3]]
    torch.testing.assert_close(cache.glance_maps(rows[2:3])[0], maps, rtol=2e-3, atol=2e-3)
    assert verify_cache(root, sample=1) == []
    data = Path(videos["path"][0]).parents[2]
    table = pd.read_csv(data / "boxes.csv")
    table["path"] = [str(data / path) for path in table["path"]]
    boxes = true_boxes(cache, table)
    assert len(boxes) == 25
    for row, at in enumerate(indices.ravel()):
        of_video = table[table["path"] == videos["path"][row // 5]]
        expected = of_video[of_video["frame"] == at].iloc[0]
        assert boxes["left"][row] == expected["left"]
        assert boxes["top"][row] == expected["top"]
