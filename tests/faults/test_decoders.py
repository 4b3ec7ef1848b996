"""Decoders that crash, hang or fill the memory end their own process, and no other."""

from __future__ import annotations

import io
import os
import pickle
import signal
import socket
import struct
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from kills import in_children
from support import small_group

from focusgym.feature_cache import (
    CacheConfig,
    CacheError,
    Clip,
    VideoError,
    build_cache,
    every_picture,
    read_frames,
    read_index,
    video_table,
)
from focusgym.feature_cache.videos import decoder_process, decoders
from focusgym.feature_cache.videos.mp4 import write_mp4
from focusgym.feature_cache.videos.pictures import every_picture as every_picture_here
from focusgym.recognizer import Encoder, EncoderConfig, FrameConfig, PatchGrid

FRAMES = FrameConfig(2, 64)
N_FRAMES = 6


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("video") / "v.mp4"
    rng = np.random.default_rng(0)
    write_mp4(rng.integers(0, 255, (N_FRAMES, 64, 64, 3), dtype=np.uint8), path)
    return str(path)


@pytest.mark.parametrize(
    ("does", "args", "why"),
    [
        (os.abort, (), "its decoder ended with SIGABRT"),
        (signal.raise_signal, (signal.SIGSEGV,), "its decoder ended with SIGSEGV"),
        (signal.raise_signal, (signal.SIGKILL,), "was killed, as is done where memory is short"),
        (os._exit, (3,), "its decoder ended with exit status 3"),
        (bytearray, (1 << 40,), "that takes more than 8 GiB of memory"),
        (sum, (range(10**12),), "it takes more than 1 s of computing"),
        (time.sleep, (600,), "it takes more than 1 s"),
    ],
)
def test_what_happens_to_a_decoder_is_said_of_the_video(
    does: Callable[..., Any],
    args: tuple[Any, ...],
    why: str,
    video: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(decoders, "LIMIT_S", 0.5)
    monkeypatch.setattr(decoders, "WAIT_S", 1 if does is time.sleep else 1000)
    with pytest.raises(VideoError, match=rf"v\.mp4 cannot be decoded \(.*{why}.*\): replace the"):
        decoders.contained(video, does, *args)
    monkeypatch.undo()
    assert read_index(video).n_frames == N_FRAMES  # another process goes on


def test_a_mistake_is_shown_where_it_is() -> None:
    with pytest.raises(RuntimeError, match=r"(?s)in the process that decodes:.*ValueError.*'x'"):
        decoders.contained("", int, "x")


def test_pictures_come_as_they_were_decoded(video: str) -> None:
    """Small ones with the reply, large ones through shared memory, all ready to be written to."""
    here = list(every_picture_here(video))
    assert np.array_equal(list(every_picture(video)), here)
    for n_bytes in (1, 1 << 20, (1 << 22) + 5):
        picture = decoders.contained("", np.full, n_bytes, 7, np.uint8)
        picture += 1
        assert picture.shape == (n_bytes,)
        assert (picture == 8).all()
    some = every_picture(video)
    assert np.array_equal(next(some), here[0])
    some.close()  # type: ignore[attr-defined]


def test_relative_paths_and_forks(video: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_index(video).n_frames == N_FRAMES
    monkeypatch.chdir(Path(video).parent)
    assert read_index("v.mp4").n_frames == N_FRAMES

    def reads() -> None:
        assert read_index("v.mp4").n_frames == N_FRAMES

    ended = in_children(reads, reads)  # with processes of their own
    assert ended.codes == [0, 0], ended.err
    assert read_index("v.mp4").n_frames == N_FRAMES


def test_declared_times_beyond_all_memory(video: str, tmp_path: Path) -> None:
    """An MP4 whose table of times has 2³¹ entries, by eight bytes of the box ``stts``."""
    content = bytearray(Path(video).read_bytes())
    at = content.index(b"stts") + 8
    for entries in (2**31, 2**31 - 1, 2**32 - 1):
        content[at : at + 4] = struct.pack(">I", entries)
        (tmp_path / "v.mp4").write_bytes(content)
        with pytest.raises(VideoError, match=r"v\.mp4 cannot be decoded \(Cannot allocate memory"):
            read_frames(Clip(str(tmp_path / "v.mp4")), FRAMES)


def test_a_build_goes_on_without_what_kills_decoders(
    video: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second of three videos ends its decoder; it is named, and the others are kept."""
    paths = [tmp_path / f"{i}.mp4" for i in range(3)]
    for path in paths:
        path.write_bytes(Path(video).read_bytes())
    right = decoders.contained

    def deadly(path: str, function: Callable[..., Any], *args: Any) -> Any:
        if path == str(paths[1]):
            return right(path, os.abort)
        return right(path, function, *args)

    monkeypatch.setattr(decoders, "contained", deadly)
    torch.manual_seed(0)
    encoders = {
        "glance": Encoder(EncoderConfig("small_glance", input_px=12)).eval(),
        "local": Encoder(EncoderConfig("small_local")).eval(),
    }
    config = CacheConfig(FRAMES, (small_group(PatchGrid(64, 28, 2)),))
    videos: pd.DataFrame = video_table(list(map(str, paths)), [0, 1, 0], ["train"] * 3)
    with pytest.raises(CacheError, match="1 video.s. cannot be read; the other 2 of 3 rows") as e:
        build_cache(videos, ["a", "b"], tmp_path / "c", encoders, config)
    assert "1.mp4 cannot be decoded (its decoder ended with SIGABRT)" in str(e.value)


@pytest.mark.skipif(os.name != "posix", reason="elsewhere files of memory are not handed over")
def test_what_the_system_writes_in_parts_arrives_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux writes at most 2 GiB at a time; here it is a few bytes."""

    class InParts(io.FileIO):
        def write(self, data: Any) -> int:
            return super().write(data[:100_000])

    with TemporaryFile() as memory:
        made = InParts(os.dup(memory.fileno()), "wb")
        monkeypatch.setattr(decoder_process, "_memory", lambda: made)
        ours, its = socket.socketpair()
        with ours, its:
            line, sent = Connection(os.dup(ours.fileno())), Connection(os.dup(its.fileno()))
            arrays = [np.arange(300_000 + i) for i in range(2)]
            decoder_process._reply(sent, its, "value", arrays)
            reply = line.recv()
            decoder = object.__new__(decoders._Decoder)
            decoder._receiver = ours
            received = pickle.loads(reply.content, buffers=decoder._arrays(reply.sizes))
    for each, expected in zip(received, arrays, strict=True):
        np.testing.assert_array_equal(each, expected)
