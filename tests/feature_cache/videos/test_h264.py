"""What the headers of H.264 tell, against what is decoded."""

from __future__ import annotations

from pathlib import Path

import av
import pytest
import video_files
from video_files import N_FRAMES, compare, plain_decode, write_video

from focusgym.feature_cache import count_frames, read_index
from focusgym.feature_cache.videos import Clip, index
from focusgym.feature_cache.videos.h264 import H264Scan


def scan(path: Path) -> tuple[H264Scan, list[bool]]:
    """Return the scan of a file, and where decoding can begin."""
    with av.open(str(path)) as container:
        scanned = H264Scan(container.streams.video[0].codec_context.extradata)
        starts = [scanned.add(bytes(packet)) for packet in container.demux(video=0) if packet.size]
    return scanned, starts


def without(path: Path, lost: range) -> Path:
    """Write a file again without some of its packets, as lossless cutters do."""
    torn = path.with_name(f"torn_{lost.start}{path.suffix}")
    with av.open(str(path)) as old, av.open(str(torn), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for number, packet in enumerate(old.demux(video=0)):
            if packet.dts is not None and number not in lost:
                packet.stream = stream
                new.mux(packet)
    return torn


@pytest.mark.parametrize("container", ["mp4", "mkv", "ts"])
@pytest.mark.parametrize(
    ("structure", "starts", "is_closed"),
    [
        ("closed_gop", 5, True),
        ("b_frames", 5, True),
        ("open_gop", 5, False),
        ("intra_refresh", 1, False),
    ],
)
def test_regular_streams(
    container: str, structure: str, starts: int, is_closed: bool, tmp_path: Path
) -> None:
    scanned, clean = scan(write_video(tmp_path / f"a.{container}", "h264", container, structure))
    assert (scanned.is_regular, scanned.is_closed) == (True, is_closed)
    assert clean[0]
    assert sum(clean) == starts


@pytest.mark.parametrize("container", ["mp4", "mkv"])
@pytest.mark.parametrize("structure", ["closed_gop", "open_gop"])
@pytest.mark.parametrize("lost", [range(24, 25), range(20, 31), range(30, 31)])
def test_lost_packets_are_noticed(
    lost: range, structure: str, container: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as a key frame: frames that need it may not be shown, so packets are no frames."""
    monkeypatch.setattr(index, "SHORT_FRAMES", 10)
    path = write_video(tmp_path / f"a.{container}", "h264", container, structure)
    quick = "pyav" if structure == "closed_gop" else "pyav in order"
    assert read_index(str(path)).decoder == quick
    torn = without(path, lost)
    way = compare(torn)
    if structure == "closed_gop":  # every frame is referred to
        assert not scan(torn)[0].is_regular
        assert way != "pyav"
    if way == "refused":
        return
    assert count_frames(Clip(str(torn))) == len(plain_decode(torn).pictures)


@pytest.mark.parametrize(
    "params", ["interlaced=1", "keyint=12:bframes=3:b-pyramid=normal:ref=6:slices=3"]
)
def test_other_ways_of_coding(params: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"threads": "1", "x264-params": params}
    monkeypatch.setattr(index, "SHORT_FRAMES", 10)
    monkeypatch.setattr(video_files, "encoder_options", lambda codec, structure: options)
    path = write_video(tmp_path / "a.mp4")
    is_progressive = "interlaced" not in params
    assert scan(path)[0].is_regular == is_progressive
    assert compare(path) == ("pyav" if is_progressive else "pyav in order")


def test_damage_is_no_error() -> None:
    for extradata in (None, b"", b"\x01", b"\x01dxx\xff\xe1\x00\x04\x67\x64\x00\x0a", bytes(40)):
        for packet in (b"", b"\0", bytes(9), b"\0\0\0\x01\x65", b"\0\0\1\x67", b"\xff" * 99):
            scanned = H264Scan(extradata)
            assert not scanned.add(packet) or packet == b"\0\0\0\x01\x65"
            assert not scanned.is_regular


def test_all_frames_are_counted(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4")
    assert count_frames(Clip(str(path))) == N_FRAMES
