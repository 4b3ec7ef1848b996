"""Which decoder read a video, and how a cache is checked against another one."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest
from support import small_group
from video_files import write_video

from focusgym.feature_cache import (
    CacheConfig,
    FeatureCache,
    build_cache,
    cache_info,
    merge_shards,
    verify_cache,
    video_table,
)
from focusgym.feature_cache.videos import VideoIndex, clips, index
from focusgym.recognizer import Encoder, FrameConfig, PatchGrid

CLASSES = [str(i) for i in range(10)]
CONFIG = CacheConfig(
    FrameConfig(steps=4, frame_px=64, resize_px=64), (small_group(PatchGrid(64, 28, 2)),)
)
KINDS = {
    "hevc.mp4": ("hevc", "mp4", "open_gop"),
    "cut.mp4": ("h264", "mp4", "edit_list"),
    "h264.avi": ("h264", "avi", "b_frames"),
    "refreshed.mkv": ("h264", "mkv", "intra_refresh"),
    "open.mov": ("mpeg4", "mov", "open_gop"),
    "plain.mp4": ("h264", "mp4", "closed_gop"),
}
DECODERS = ["pyav in order", "pyav", *["pyav in order"] * 3, "pyav"]
Encoders = dict[str, Encoder]


def write_twin(path: Path, twin: Path) -> None:
    """Write the frames that a player shows of a file once more: all key frames, without loss."""
    options = {"qp": "0", "g": "1", "threads": "1"}
    with av.open(str(path)) as old, av.open(str(twin), "w") as new:
        stream = new.add_stream("libx264", rate=25, options=options)
        assert isinstance(stream, av.VideoStream)
        for number, frame in enumerate(old.decode(video=0)):
            if number == 0:
                stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
            frame.pts, frame.time_base = number, Fraction(1, 25)
            new.mux(stream.encode(frame))
        new.mux(stream.encode())


@pytest.fixture(autouse=True)
def as_if_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what may be sought be sought: the file ``plain.mp4``."""
    monkeypatch.setattr(index, "SHORT_FRAMES", 50)


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    folder = tmp_path_factory.mktemp("kinds")
    paths = [str(write_video(folder / name, *kind)) for name, kind in KINDS.items()]
    return video_table(paths, list(range(len(paths))), ["train"] * len(paths))


@pytest.fixture
def root(kinds: pd.DataFrame, encoders: Encoders, tmp_path: Path) -> Path:
    return build_cache(kinds, CLASSES, tmp_path / "cache", encoders, CONFIG)


def test_a_file_and_its_twin_have_the_same_features(
    root: Path, kinds: pd.DataFrame, encoders: Encoders, tmp_path: Path
) -> None:
    twins = []
    for path in map(Path, kinds["path"]):
        twins.append(str(tmp_path / f"{path.stem}_twin.mp4"))
        write_twin(path, Path(twins[-1]))
    table = kinds.assign(path=twins)
    cache = FeatureCache.open(root)
    twin = FeatureCache.open(build_cache(table, CLASSES, tmp_path / "twin", encoders, CONFIG))
    for name in ("glance_maps", "glance_vectors", f"local_vectors_{cache.group.name}"):
        stored, again = (np.load(each.root / f"{name}.npy") for each in (cache, twin))
        assert len({stored[row].tobytes() for row in range(len(stored))}) > 1
        np.testing.assert_allclose(stored, again, rtol=2**-9, atol=2**-9)
    rows = np.arange(len(kinds))
    np.testing.assert_array_equal(cache.frame_indices(rows), twin.frame_indices(rows))


def test_a_cache_says_what_decoded_each_video(
    root: Path, kinds: pd.DataFrame, encoders: Encoders, tmp_path: Path
) -> None:
    assert FeatureCache.open(root).videos["decoder"].tolist() == DECODERS
    expected = {"pyav": 2, "pyav in order": 4}
    assert FeatureCache.open(root).manifest["decoders"] == expected
    facts, _ = cache_info(root)
    assert facts["decoders"] == "pyav 2, pyav in order 4"
    parts = [
        build_cache(kinds, CLASSES, tmp_path / f"{i}", encoders, CONFIG, shard=(i, 2))
        for i in (1, 2)
    ]
    merged = merge_shards(parts, tmp_path / "merged")
    for name in ("videos.csv", "manifest.json"):
        assert (merged / name).read_bytes() == (root / name).read_bytes()


def test_verify_finds_frames_that_were_read_wrongly(
    kinds: pd.DataFrame, encoders: Encoders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A decoder that is a frame late is found out, whether it still is or was only then."""
    right = clips.read_pictures

    def late(video_index: VideoIndex, places: np.ndarray) -> tuple[np.ndarray, VideoIndex]:
        return right(video_index, np.maximum(places - 1, 0))

    monkeypatch.setattr(clips, "read_pictures", late)
    wrong_root = build_cache(kinds, CLASSES, tmp_path / "wrong", encoders, CONFIG)
    now = verify_cache(wrong_root, sample=100)
    assert len(now) == len(KINDS)
    for sentence in now:
        assert "two ways of decoding" in sentence
        assert "give different pictures of frame" in sentence
    monkeypatch.undo()
    since = verify_cache(wrong_root, sample=100)
    assert len(since) == len(KINDS)
    for sentence in since:
        assert "differs by up to" in sentence
        assert "the file, the decoder or the encoders have changed; build again" in sentence


def test_a_right_cache_has_nothing_wrong(root: Path) -> None:
    assert verify_cache(root, sample=100) == []
