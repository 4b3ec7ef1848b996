"""Records drawn from their video files."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from focusgym.envs.records.record import EpisodeRecord, read_record
from focusgym.envs.records.render import GREEN, Caption, draw_decision, picture_size, render_record
from focusgym.feature_cache import (
    CacheConfig,
    Clip,
    DigitsConfig,
    FeatureCache,
    VideoError,
    View,
    build_cache,
    clips_of,
    make_digits,
    read_view,
    video_table,
)
from focusgym.feature_cache.videos.mp4 import write_mp4
from focusgym.recognizer import Encoder, EncoderConfig, FrameConfig, PatchGrid, option_group

S, BAND_PX = 64, 80
Box = tuple[int, int, int, int]


def noise(side: int = S, seed: int = 0) -> torch.Tensor:
    """Pixels from 60 to 139: none has a colour of the drawing."""
    values = np.random.default_rng(seed).integers(60, 140, (3, side, side))
    return torch.from_numpy(values.astype(np.uint8))


def video_record(folder: Path, n: int = 2) -> EpisodeRecord:
    """n of three decisions on a video of its own, mirrored and cropped at the right."""
    frames = np.random.default_rng(0).integers(0, 255, (5, 40, 60, 3), dtype=np.uint8)
    write_mp4(frames, folder / "a.mp4")
    return EpisodeRecord(
        video_id=0,
        name="a.mp4",
        label="walk",
        clip=Clip(str(folder / "a.mp4")),
        frames=FrameConfig(3, 40, resize_px=40),
        view=View(np.array([0, 2, 4]), (20, 0, 60, 40), True),
        map_cells=(2, 4),
        cache_fingerprint="",
        segments=np.arange(3)[:n],
        options=np.array([3, -1, 1])[:n],
        attended=np.array([True, False, False])[:n],
        fed=np.ones(n, dtype=bool),
        boxes_px=np.array([[20, 20, 40, 40], [0, 0, 0, 0], [20, 0, 40, 20]])[:n],
        confidences=np.array([0.25, 0.5, 0.125])[:n],
        correct=np.array([False, True, False])[:n],
        rewards=np.zeros(n),
        gmacs=np.array([1.0, 1.5, 2.0])[:n],
    )


def test_a_record_is_drawn_from_its_video(tmp_path: Path) -> None:
    record = video_record(tmp_path, 3)
    frames = read_view(record.clip, record.frames, record.view)
    history = (0.25, 0.5, 0.125)
    expected = [
        draw_decision(
            frames[0], Caption("walk", 3, history[:1], False, 1.0), (2, 4), (20, 20, 40, 40), True
        ),
        draw_decision(frames[1], Caption("walk", 3, history[:2], True, 1.5), (2, 4), None, False),
        draw_decision(
            frames[2], Caption("walk", 3, history, False, 2.0), (2, 4), (20, 0, 40, 20), False
        ),
    ]
    np.testing.assert_array_equal(render_record(record), np.stack(expected))
    assert len({frame.numpy().tobytes() for frame in frames}) == 3
    for n in (0, 2):
        pictures = render_record(video_record(tmp_path, n))
        assert pictures.shape == (n, *picture_size(40), 3)
        np.testing.assert_array_equal(pictures, np.stack([*expected, expected[0]])[:n])


def test_the_middle_frame_of_a_segment_is_drawn(tmp_path: Path) -> None:
    single = video_record(tmp_path, 3)
    segments = View(np.array([[0, 0, 1], [1, 2, 3], [3, 4, 4]]), single.view.crop_px, True)
    of_three = replace(single.frames, segment_frames=3)
    record = replace(single, frames=of_three, view=segments)
    np.testing.assert_array_equal(render_record(record), render_record(single))


def test_pictures_make_a_video(tmp_path: Path) -> None:
    pictures = render_record(video_record(tmp_path))
    write_mp4(pictures, tmp_path / "episode.mp4")
    with av.open(str(tmp_path / "episode.mp4")) as container:
        shown = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert np.stack(shown).shape == pictures.shape


def test_a_video_that_is_gone_is_told(tmp_path: Path) -> None:
    record = video_record(tmp_path)
    record.write(tmp_path / "a.json")
    Path(record.clip.path).unlink()
    with pytest.raises(VideoError, match=f"{record.clip.path}: no such video"):
        render_record(read_record(tmp_path / "a.json"))


def test_the_cache_is_not_needed(tmp_path: Path) -> None:
    table = make_digits(DigitsConfig(n_train=1, n_val=1, n_test=1, n_frames=6), tmp_path / "digits")
    paths = [str(tmp_path / "digits" / path) for path in table["path"]]
    videos = video_table(paths, table["label"].tolist(), table["split"].tolist())
    torch.manual_seed(0)
    glance = Encoder(EncoderConfig("small_glance", input_px=12)).eval()
    local = Encoder(EncoderConfig("small_local")).eval()
    group = option_group(PatchGrid(64, 28), "local", local)
    config = CacheConfig(FrameConfig(steps=3, frame_px=64), (group,))
    encoders = {"glance": glance, "local": local}
    classes = [str(i) for i in range(10)]
    root = build_cache(videos, classes, tmp_path / "cache", encoders, config)
    cache = FeatureCache.open(root)
    options = np.array([0, 48, 24])
    record = EpisodeRecord(
        video_id=1,
        name=str(cache.videos["name"][1]),
        label=cache.classes[int(cache.labels[1])],
        clip=clips_of(cache.videos)[1],
        frames=cache.frames,
        view=cache.view(1),
        map_cells=cache.map_shape[:2],
        cache_fingerprint=cache.fingerprint,
        segments=np.arange(3),
        options=options,
        attended=np.ones(3, dtype=bool),
        fed=np.ones(3, dtype=bool),
        boxes_px=cache.boxes_px[options],
        confidences=np.array([0.1, 0.2, 0.3]),
        correct=np.zeros(3, dtype=bool),
        rewards=np.zeros(3),
        gmacs=np.ones(3),
    )
    record.write(tmp_path / "a.json")
    before = render_record(record)
    shutil.rmtree(root)
    np.testing.assert_array_equal(render_record(read_record(tmp_path / "a.json")), before)
    # The last decision looked at the middle of the last of the frames 1, 3 and 5.
    shown = before[2, BAND_PX:]
    for x in (6 * 18, 6 * 46 - 1):  # its left and right edges; a pixel is 6 px wide
        assert (shown[6 * 18 : 6 * 46, x] == np.array(GREEN)).all()
    decoded = read_view(
        record.clip, record.frames, View(np.array([1, 3, 5]), (0, 0, 64, 64), False)
    )
    corner = decoded[2][:, :3, :3].permute(1, 2, 0).numpy().repeat(6, 0).repeat(6, 1)
    np.testing.assert_array_equal(shown[:18, :18], corner)
