"""Videos and rows of a cache as samples of the supervised stages."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from support import broken, write_cache
from torch import Tensor

from focusgym.feature_cache import (
    AugmentConfig,
    Clip,
    FeatureCache,
    VideoError,
    VideoSamples,
    cache_samples,
    clips_of,
    read_frames,
)
from focusgym.feature_cache.reading.samples import targets
from focusgym.recognizer import FrameConfig, Purpose, generator

FRAMES = FrameConfig(steps=3, frame_px=64)
ROWS = [torch.tensor([3, 0]), torch.tensor([4]), torch.tensor([1, 3])]


def batches(samples: VideoSamples, epoch: int = 0) -> list[tuple[Tensor, ...]]:
    return list(samples.batches(epoch, ROWS))


def test_the_frames_of_each_video_in_the_order_asked_for(videos: pd.DataFrame) -> None:
    samples, clips = VideoSamples(videos, 10, FRAMES), clips_of(videos)
    assert samples.n == len(videos) == 5
    loaded = batches(samples)
    assert [len(batch) for batch in loaded] == [2, 2, 2], "frames and labels, no draws"
    for rows, (frames, labels) in zip(ROWS, loaded, strict=True):
        assert frames.dtype == torch.uint8
        assert tuple(frames.shape) == (len(rows), 3, 3, 64, 64)
        for row, one, label in zip(rows.tolist(), frames, labels, strict=True):
            assert torch.equal(one, read_frames(clips[row], FRAMES)[0])
            assert label == videos["label"][row]
    assert len({frames.numpy().tobytes() for frames, _ in loaded}) == 3
    for one, other in zip(loaded, batches(samples, epoch=1), strict=True):
        assert torch.equal(one[0], other[0]), "nothing is drawn"


def test_augmentation_is_keyed_by_video_and_epoch(videos: pd.DataFrame) -> None:
    """Not by row, batch or what else is on the list; other seeds draw others."""
    augment = AugmentConfig(1, seed=3)
    samples, clips = VideoSamples(videos, 10, FRAMES, augment=augment), clips_of(videos)
    seen = {}
    for epoch in (0, 1, 5):
        for rows, (frames, _) in zip(ROWS, batches(samples, epoch), strict=True):
            for row, one in zip(rows.tolist(), frames, strict=True):
                assert torch.equal(one, read_frames(clips[row], FRAMES, augment, epoch)[0])
                seen[row, epoch] = one.numpy().tobytes()
    assert len(set(seen.values())) == len(seen) == 4 * 3
    turned = VideoSamples(videos[::-1][:3].reset_index(drop=True), 10, FRAMES, augment=augment)
    for epoch in (0, 1):
        ((frames, _),) = turned.batches(epoch, [torch.tensor([1, 0])])
        assert [one.numpy().tobytes() for one in frames] == [seen[3, epoch], seen[4, epoch]]
    other = VideoSamples(videos, 10, FRAMES, augment=AugmentConfig(1, seed=4))
    ((frames, _),) = other.batches(0, ROWS[:1])
    assert frames[0].numpy().tobytes() != seen[3, 0]


def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what is filled with the path of each video that is decoded."""
    paths: list[str] = []

    def note(clip: Clip, *how: Any) -> Any:
        paths.append(clip.path)
        return read_frames(clip, *how)

    monkeypatch.setattr("focusgym.feature_cache.reading.samples.read_frames", note)
    return paths


def test_what_is_the_same_in_every_epoch_is_decoded_once(
    videos: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = videos["path"].tolist()
    every = [torch.tensor([3, 0, 1]), torch.tensor([4, 2])]
    decoded_paths = decoded(monkeypatch)
    samples = VideoSamples(videos, 10, FRAMES, draws_key=[1])
    first, second = (list(samples.batches(epoch, every)) for epoch in (0, 1))
    assert sorted(decoded_paths) == sorted(paths), "nothing in the second epoch"
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one[0], other[0])
        assert not torch.equal(one[1], other[1]), "draws are new"
        one[0].zero_()  # the caller's own: nothing that is kept changes
    third = list(samples.batches(2, every))
    assert torch.equal(third[0][0], second[0][0])
    decoded_paths.clear()
    augmented = VideoSamples(videos, 10, FRAMES, augment=AugmentConfig(1))
    for epoch in (0, 1):
        list(augmented.batches(epoch, every))
    assert sorted(decoded_paths) == sorted(2 * paths)


def test_no_more_is_kept_than_there_is_room_for(
    videos: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three videos of 3·3·64·64 bytes, whichever are decoded first; the others anew every time."""
    monkeypatch.setattr(
        "focusgym.feature_cache.reading.samples.KEPT_BYTES", 3 * 3 * 3 * 64 * 64 + 100
    )
    decoded_paths = decoded(monkeypatch)
    samples = VideoSamples(videos, 10, FRAMES)
    expected = [frames for frames, _ in samples.batches(0, [*ROWS, torch.tensor([2])])]
    assert {*decoded_paths} == {*videos["path"]}
    for epoch in (1, 2):
        decoded_paths.clear()
        again = [frames for frames, _ in samples.batches(epoch, [*ROWS, torch.tensor([2])])]
        assert len({*decoded_paths}) == 2
        assert all(torch.equal(one, other) for one, other in zip(expected, again, strict=True))


def test_draws_are_keyed_by_row_and_epoch(videos: pd.DataFrame) -> None:
    samples = VideoSamples(videos, 10, FRAMES, draws_key=[7, 2])
    for epoch in (0, 3):
        for rows, (_, draws, labels) in zip(ROWS, batches(samples, epoch), strict=True):
            for row, drawn in zip(rows.tolist(), draws, strict=True):
                expected = generator(Purpose.SAMPLE_DRAWS, 7, 2, epoch, row).random((3, 2))
                np.testing.assert_array_equal(drawn, expected)
            assert labels.tolist() == videos["label"][rows.tolist()].tolist()


def test_several_labels_are_a_matrix(videos: pd.DataFrame) -> None:
    several = videos.assign(labels=["1;3", "0", "2", "9", "4;0;5"])
    matrices = [labels.tolist() for _, labels in batches(VideoSamples(several, 10, FRAMES))]
    hot = [[{1, 3}, {0}, {2}, {9}, {0, 4, 5}][row] for rows in ROWS for row in rows.tolist()]
    assert [row for rows in matrices for row in rows] == [
        [k in each for k in range(10)] for each in hot
    ]


def test_targets_of_rows_with_any_index() -> None:
    single = pd.Series(["2", "0", "11"], index=[7, 3, 3])
    assert targets(single, 12).tolist() == [2, 0, 11]
    assert targets(single, 12).dtype == torch.int64
    several = targets(pd.Series(["2", "0;1"], index=[7, 3]), 3)
    assert several.dtype == torch.bool
    assert several.tolist() == [[False, False, True], [True, True, False]]


@pytest.mark.parametrize("row", [1, 2, 3, 4])
def test_a_video_that_cannot_be_read_is_named(
    row: int, videos: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """After those before it."""
    damaged = broken(videos, tmp_path_factory.mktemp("broken"))
    samples = VideoSamples(damaged, 10, FRAMES)
    loaded = samples.batches(0, [torch.tensor([0]), torch.tensor([0, row])])
    assert torch.equal(next(loaded)[0][0], read_frames(clips_of(videos)[0], FRAMES)[0])
    with pytest.raises(VideoError) as caught:
        next(loaded)
    assert str(caught.value).startswith(damaged["path"][row])


def test_a_reader_that_is_left_early_stops_decoding(videos: pd.DataFrame) -> None:
    before = threading.active_count()
    loaded = VideoSamples(videos, 10, FRAMES).batches(0, [torch.tensor([0, 1, 2, 3])] * 50)
    next(loaded)
    assert threading.active_count() > before
    del loaded
    end = time.monotonic() + 60
    while threading.active_count() > before and time.monotonic() < end:
        time.sleep(0.01)
    assert threading.active_count() == before


def test_rows_of_a_cache(cache: FeatureCache) -> None:
    """The arrays on disk, one row and frame after the other; zeros where nothing is attended."""
    glance = np.load(cache.root / "glance_vectors.npy").astype(np.float32)
    local = np.load(cache.root / "local_vectors_p12_3x3.npy").astype(np.float32)
    videos = np.array([8, 2, 5, 1])
    requests: list[tuple[int, list[int]]] = []

    def choose(epoch: int, rows: Tensor) -> tuple[Tensor, Tensor]:
        requests.append((epoch, rows.tolist()))
        options = (rows[:, None] * 3 + torch.arange(4) + epoch) % 10 - 1
        return options, options >= 0

    samples = cache_samples(cache, videos, choose)
    assert samples.n == 4
    rows = [torch.tensor([2, 0, 3]), torch.tensor([1])]
    for some, batch in zip(rows, samples.batches(5, rows), strict=True):
        for row, e_g, e_l, label in zip(some.tolist(), *batch, strict=True):
            video = videos[row]
            np.testing.assert_array_equal(e_g, glance[video])
            assert label == cache.labels[video]
            for t in range(4):
                option = (row * 3 + t + 5) % 10 - 1
                expected = local[video, t, option] if option >= 0 else np.zeros(local.shape[-1])
                np.testing.assert_array_equal(e_l[t], expected)
    assert requests == [(5, [2, 0, 3]), (5, [1])]


def test_several_labels_in_a_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    several = [[k % 3, (k + 1) % 3] if k % 2 else [k % 3] for k in range(10)]
    cache = write_cache(tmp_path_factory.mktemp("several") / "cache", all_labels=several)
    videos = np.array([3, 8])
    first = torch.zeros(2, 4).long(), torch.ones(2, 4).bool()
    samples = cache_samples(cache, videos, lambda epoch, rows: first)
    ((*_, labels),) = samples.batches(0, [torch.tensor([1, 0])])
    assert labels.dtype == torch.bool
    assert labels.tolist() == [[k in several[video] for k in range(3)] for video in (8, 3)]
