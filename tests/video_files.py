"""Small videos of many kinds, written with PyAV, and the plain decode that all reading must equal.

Frame i shows the bits of i as dark and bright blocks, so that no two frames are alike.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from focusgym.feature_cache import Clip, VideoError, sample_frames
from focusgym.feature_cache.videos.clips import read_pixels
from focusgym.recognizer import FrameConfig

WIDTH, HEIGHT, N_FRAMES, GOP = 128, 96, 60, 12

X265 = "log-level=none:keyint=12:min-keyint=12:scenecut=0:bframes={b}:open-gop={open}"
# Of each codec: encoder, pixel format, whether it has B-frames.
CODECS: dict[str, tuple[str, str, bool]] = {
    "h264": ("libx264", "yuv420p", True),
    "h264_10bit": ("libx264", "yuv420p10le", True),
    "hevc": ("libx265", "yuv420p", True),
    "mpeg4": ("mpeg4", "yuv420p", True),
    "mpeg2": ("mpeg2video", "yuv420p", True),
    "mpeg1": ("mpeg1video", "yuv420p", True),
    "vp8": ("libvpx", "yuv420p", False),
    "vp9": ("libvpx-vp9", "yuv420p", False),
    "av1": ("libsvtav1", "yuv420p", False),
    "mjpeg": ("mjpeg", "yuvj420p", False),
    "prores": ("prores_ks", "yuv422p10le", False),
    "ffv1": ("ffv1", "yuv420p", False),
    "wmv2": ("wmv2", "yuv420p", False),
    "flv1": ("flv", "yuv420p", False),
    "h263": ("h263", "yuv420p", False),
    "gif": ("gif", "rgb8", False),
}


class Container(NamedTuple):
    """A container: its suffix, its muxer, and how that is told to write."""

    suffix: str
    muxer: str
    options: dict[str, str] = {}  # noqa: RUF012 - never changed


CONTAINERS = {
    "mp4": Container("mp4", "mp4"),
    "mov": Container("mov", "mov"),
    "mkv": Container("mkv", "matroska"),
    "webm": Container("webm", "webm"),
    "avi": Container("avi", "avi"),
    "ts": Container("ts", "mpegts"),
    "mpg": Container("mpg", "mpeg"),
    "flv": Container("flv", "flv"),
    "wmv": Container("wmv", "asf"),
    "3gp": Container("3gp", "3gp"),
    "ivf": Container("ivf", "ivf"),
    "gif": Container("gif", "gif"),
    "nut": Container("nut", "nut"),
    "mxf": Container("mxf", "mxf"),
    "ogv": Container("ogv", "ogg"),
    "fragmented mp4": Container("mp4", "mp4", {"movflags": "frag_keyframe+empty_moov"}),
}
STRUCTURES = (
    "closed_gop",
    "b_frames",
    "open_gop",
    "intra_refresh",
    "edit_list",
    "cut",
    "torn",
    "variable_rate",
    "jitter",
    "rotated",
    "mirrored",
    "late_start",
    "no_duration",
)
NO_DURATION = {
    "mkv": {"live": "1"},
    "webm": {"live": "1"},
    "flv": {"flvflags": "no_duration_filesize"},
}
# Rows of the display matrix, 16.16 and 2.30 fixed point: a quarter turn; left and right exchanged.
ONE, W = 1 << 16, 1 << 30
ROTATED = (0, ONE, 0, -ONE, 0, 0, 0, 0, W)
MIRRORED = (-ONE, 0, 0, 0, ONE, 0, 0, 0, W)


class NotWritable(Exception):
    """PyAV writes no such file."""


def picture(number: int, width: int = WIDTH, height: int = HEIGHT) -> NDArray[np.uint8]:
    """Return ``(height, width, 3)`` uint8 in which a frame's number can be read."""
    blocks = np.array([40 + 175 * (number >> bit & 1) for bit in range(8)], dtype=np.uint8)
    grey = blocks.reshape(2, 4).repeat(height // 2, 0).repeat(width // 4, 1)
    shown = grey[..., None].repeat(3, 2)
    shown[: height // 8, : width // 8] = (220, 30, 30)  # one corner is red: turns can be seen
    return shown


def presentation(structure: str, n: int) -> tuple[list[int], Fraction]:
    """Return when the frames are shown, and in which unit of time, seconds."""
    if structure == "variable_rate":
        return [i if i < n // 2 else n // 2 + 8 * (i - n // 2) for i in range(n)], Fraction(1, 25)
    if structure == "jitter":
        shifts = np.random.default_rng(0).integers(-3, 4, n)
        return [max(0, 10 * i + int(shifts[i])) for i in range(n)], Fraction(1, 250)
    return list(range(n)), Fraction(1, 25)


def encoder_options(codec: str, structure: str) -> dict[str, str]:
    """Return how an encoder is told to write groups of pictures of a structure."""
    is_open = structure in ("open_gop", "cut", "torn")
    b_frames = 2 if CODECS[codec][2] and (is_open or structure in ("b_frames", "edit_list")) else 0
    options = {"threads": "1", "g": str(GOP), "bf": str(b_frames)}
    if codec.startswith("h264"):
        if structure == "intra_refresh":
            x264 = f"keyint={GOP}:min-keyint=6:scenecut=0:intra-refresh=1"
            return {"threads": "1", "bf": "2", "crf": "18", "x264-params": x264}
        x264 = f"keyint={GOP}:min-keyint={GOP}:scenecut=0:open-gop={int(is_open)}"
        return {**options, "preset": "fast", "crf": "18", "x264-params": x264}
    if codec == "hevc":
        refresh = ":intra-refresh=1" if structure == "intra_refresh" else ""
        params = X265.format(b=b_frames, open=int(is_open)) + ":pools=1:frame-threads=1" + refresh
        return {"preset": "ultrafast", "crf": "18", "x265-params": params}
    if codec in ("mpeg4", "mpeg2", "mpeg1"):
        return {
            **options,
            "b": "4M",
            **({} if is_open else {"flags": "+cgop", "sc_threshold": "1000000000"}),
        }
    if codec in ("vp8", "vp9"):
        return {
            **options,
            "crf": "10",
            "b": "2M",
            "deadline": "good",
            "cpu-used": "5",
            "auto-alt-ref": "1",
            "lag-in-frames": "10",
        }
    if codec == "av1":
        return {"preset": "12", "crf": "20", "g": str(GOP), "svtav1-params": "lp=1"}
    return options


def write_video(
    path: Path,
    codec: str = "h264",
    container: str = "mp4",
    structure: str = "closed_gop",
    n: int = N_FRAMES,
) -> Path:
    """Write a video.

    Raises:
        NotWritable: If PyAV, its container or its codec does not do this.
    """
    encoder, pix_fmt, _ = CODECS[codec]
    _, muxer, options = CONTAINERS[container]
    if structure == "no_duration":
        options = {**options, **NO_DURATION.get(container, {})}
    shown_at, unit = presentation(structure, n)
    first = {"edit_list": -7, "late_start": 125}.get(structure, 0)
    try:
        with av.open(str(path), "w", format=muxer, options=options) as out:
            stream = out.add_stream(encoder, rate=25, options=encoder_options(codec, structure))
            assert isinstance(stream, av.VideoStream)
            stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pix_fmt
            stream.codec_context.time_base = unit
            if structure in ("rotated", "mirrored"):
                if not hasattr(stream, "set_display_matrix"):  # PyAV before 18
                    raise NotWritable(f"{structure}: PyAV {av.__version__} writes no matrix")
                stream.set_display_matrix(ROTATED if structure == "rotated" else MIRRORED)
            packets = list(encoded(stream, shown_at, unit))
            skipped = 0
            if structure in ("cut", "torn"):
                keys = [at for at, packet in enumerate(packets) if packet.is_keyframe]
                skipped = (keys[1] if len(keys) > 1 else GOP) + 3 * (structure == "torn")
            for packet in packets[skipped:]:
                if first or skipped:
                    shift = int((first - skipped) * Fraction(1, 25) / packet.time_base)
                    packet.pts = None if packet.pts is None else packet.pts + shift
                    packet.dts = None if packet.dts is None else packet.dts + shift
                out.mux(packet)
    except (av.FFmpegError, ValueError, OverflowError, TypeError) as error:
        raise NotWritable(f"{codec} in {container}, {structure}: {error}") from error
    finally:
        if codec == "av1" and hasattr(os, "sched_setscheduler"):
            # Run by root, SVT-AV1 makes this thread a real-time one, which stops all others.
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    return path


def encoded(stream: av.VideoStream, shown_at: list[int], unit: Fraction) -> Iterator[av.Packet]:
    """Yield the packets of pictures 0, 1, … that are shown at these times."""
    for number, at in enumerate(shown_at):
        frame = av.VideoFrame.from_ndarray(picture(number), format="rgb24")
        frame.pts, frame.time_base = at, unit
        yield from stream.encode(frame)
    yield from stream.encode()


class Shown(NamedTuple):
    """What a player shows: pictures ``(n, height, width, 3)`` and their times, seconds."""

    pictures: NDArray[np.uint8]
    times_s: list[float | None]


def plain_decode(path: Path) -> Shown:
    """Decode a file from the first frame to the last, without seeking."""
    converter = VideoReformatter()  # one for all frames: to set one up takes longer than to convert
    with av.open(f"file:{path}", metadata_errors="ignore") as container:
        if container.streams.video and container.streams.video[0].codec_context is None:
            raise ValueError(f"{path}: no decoder")  # PyAV before 18.1 would end the process
        frames = list(container.decode(video=0))
    pictures = [upright(each, converter) for each in frames]
    return Shown(np.stack(pictures), [each.time for each in frames])


@lru_cache(maxsize=1)
def shown_of(path: Path, written_ns: int) -> Shown | None:
    """Return what a player shows of a file, if anything; once where it is compared twice."""
    try:
        return plain_decode(path)
    except (av.FFmpegError, IndexError, ValueError):
        return None


def upright(frame: av.VideoFrame, converter: VideoReformatter) -> NDArray[np.uint8]:
    """Return a frame as it is shown: its display matrix applied to every pixel's place."""
    pixels = converter.reformat(frame, format="rgb24").to_ndarray()
    matrices = [each for each in frame.side_data if each.type.name == "DISPLAYMATRIX"]
    if not matrices:
        return pixels
    a, b, _, c, d, *_ = np.frombuffer(bytes(matrices[0]), dtype=np.int32) / ONE
    height, width = pixels.shape[:2]
    y, x = np.mgrid[:height, :width]
    # Where each pixel goes: x' = a x + c y, y' = b x + d y, moved so that all are positive.
    to_x, to_y = np.rint(a * x + c * y).astype(int), np.rint(b * x + d * y).astype(int)
    to_x, to_y = to_x - to_x.min(), to_y - to_y.min()
    out = np.zeros((to_y.max() + 1, to_x.max() + 1, 3), np.uint8)
    out[to_y, to_x] = pixels
    return out


def middles(n: int, steps: int) -> list[int]:
    """Return the middle frames of equal parts of n frames, by the formula of the released code."""
    if n < steps:
        return [min(k, n - 1) for k in range(steps)]
    return [int(n / steps / 2 + n / steps * k) for k in range(steps)]


def mean_difference(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return how far apart pictures ``(n, height, width, 3)`` are on average, ``(n,)``."""
    apart = (np.maximum(a, b) - np.minimum(a, b)).reshape(len(a), -1)  # in bytes, which is quick
    means: NDArray[np.float64] = apart.sum(axis=1, dtype=np.int64) / apart.shape[1]
    return means


def compare(path: Path, numbers: Sequence[int | None] = (1, 4, 16, None)) -> str:
    """Hold what is read of a file to its plain decode.

    Args:
        path: The file.
        numbers: Numbers of segments T, of which the middle frames are read; None: 50 at random.

    Returns:
        What read it; or ``refused``, with words that name the file.
    """
    clip, ways = Clip(str(path)), set()
    shown = shown_of(path, path.stat().st_mtime_ns)
    rng = np.random.default_rng(0)
    for steps in numbers:

        def choose(first: int, n: int, steps: int | None = steps) -> NDArray[np.int64]:
            if steps is None:
                return first + rng.integers(0, n, 50)
            return first + sample_frames(n, FrameConfig(steps, 64))

        try:
            pixels = read_pixels(clip, choose)
        except VideoError as error:
            words = str(error)
        else:
            words = ""
        if words:
            assert words.startswith(str(path))
            # What begins with frames that refer to others may be refused, or read as it is shown.
            assert shown is None or "is damaged" in words or "torn" in path.name, words
            return "refused"
        assert shown is not None
        if steps is not None:
            assert pixels.indices.tolist() == middles(len(shown.pictures), steps)
        assert pixels.pictures.shape[1:] == shown.pictures.shape[1:]
        apart = mean_difference(pixels.pictures, shown.pictures[pixels.indices])
        assert apart.max() < 0.5, (path.name, pixels.decoder)
        ways.add(pixels.decoder)
    assert len(ways) == 1
    return ways.pop()
