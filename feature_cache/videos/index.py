"""The index of a video file: which frames a player shows, when, and where decoding can begin."""

from __future__ import annotations

import math
import re
from array import array
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from typing import TYPE_CHECKING

import av
import numpy as np
from numpy.typing import NDArray

from .container import DISPLAY_MATRIX, VideoError, codec_of, decoding, open_video
from .key_frames import is_clean_start

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

# Ways to read, the quickest first.
DECORD, SEEK, IN_ORDER = "decord", "pyav", "pyav in order"
MP4, MATROSKA, AVI = "mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi"
# Where a packet is a frame and its time is right. Of all others frames are counted by decoding.
INDEXED = ("h264", "hevc", "vp9", "av1", "mpeg4", "mjpeg", "prores", "ffv1")
# What decord reads as PyAV does, to the bit, in files that pass `_is_safe_for_decord`.
DECORD_CODECS = ("h264", "hevc", "vp9", "mpeg4", "mjpeg")
DECORD_PIXELS = ("yuv420p", "yuvj420p")
# Containers whose header says how long the pictures last, so that one that was cut is noticed.
_DECLARING = (MP4, MATROSKA, AVI)
# What no real video exceeds: beyond, a header is damaged.
MOST_FPS, MOST_S = 10_000.0, 30 * 24 * 3600.0
# Frames of a video that is decoded to be counted are kept for reading up to this size.
KEPT_BYTES = 64 << 20
_SAME_S = 1e-6  # times that are nearer than this are equal
_UNKNOWN = -(1 << 63)  # a time that the file does not say


@dataclass(frozen=True, eq=False)
class VideoIndex:
    """The frames of a video file: frame i is the i-th that a player shows from first to last.

    Presentation order, with edit lists applied; frames that are only decoded to show others, such
    as those before a cut, are not counted.

    Attributes:
        path: The file.
        decoder: The quickest way in which its frames are read rightly: ``decord``; ``pyav``, which
            seeks to the key frame before and decodes on; or ``pyav in order``, from first to last.
        times_s: ``(n,)`` float64, when each frame is shown, seconds after the first one.
        end_s: When the last one is gone, seconds after the first one was shown.
        pts: ``(n,)`` int64, the same times as the file has them; empty where frames were counted.
        keys: Key frames as (pts, what to seek for), ascending; empty where frames were counted.
        kept: The frames themselves, where they had to be decoded to be counted, and are few.
    """

    path: str
    decoder: str
    times_s: NDArray[np.float64]
    end_s: float
    pts: NDArray[np.int64]
    keys: tuple[tuple[int, int], ...] = ()
    kept: tuple[VideoFrame, ...] = ()

    @property
    def n_frames(self) -> int:
        """How many frames a player shows."""
        return len(self.times_s)

    @cached_property
    def key_places(self) -> NDArray[np.int64]:
        """Of each key frame, the first frame ``(m,)`` that is shown from it on."""
        return np.searchsorted(self.pts, [pts for pts, _ in self.keys])

    def span(self, start_s: float | None, end_s: float | None) -> tuple[int, int]:
        """Return the first frame of a segment and how many it has: those shown in [start, end).

        A segment in which no frame begins has the one that is on display. Half a line of a list
        that rounds up is forgiven: a segment may end up to a second after the file.

        Args:
            start_s: Seconds after the first frame; None is the first frame.
            end_s: Likewise; None is the end of the file.

        Raises:
            VideoError: If the segment begins after the last frame, or ends later than that.
        """
        begin, end = start_s or 0.0, math.inf if end_s is None else end_s
        if begin >= self.end_s or (end_s is not None and end_s > self.end_s + 1):
            until = "its end" if end_s is None else f"{end_s:g} s"
            raise VideoError(
                f"{self.path}: the list asks for {begin:g} s to {until}, but the file lasts "
                f"{self.end_s:.2f} s: correct start_s and end_s"
            )
        first, last = np.searchsorted(self.times_s, (begin - _SAME_S, end - _SAME_S)).tolist()
        return (first, last - first) if first < last else (first - 1, 1)


def read_index(path: str) -> VideoIndex:
    """Read a file's index without decoding it, or by decoding it where nothing less is sure.

    Raises:
        VideoError: If it is missing, damaged, no video, or ends before it should.
    """
    with decoding(path), open_video(path) as (container, stream):
        packets = _demux(container, stream)
        _check_whole(path, container, stream, packets)
        index = _index_of(path, container, stream, packets)
    return index or count_by_decoding(path)


def count_by_decoding(path: str) -> VideoIndex:
    """Read a file's index by decoding all of it; raises as `read_index`."""
    times: list[float | None] = []
    kept: list[VideoFrame] = []
    size_bytes = 0
    with decoding(path), open_video(path) as (container, stream):
        frame_s = _frame_s(stream)
        for frame in container.decode(stream):
            times.append(frame.time)
            size_bytes += sum(plane.buffer_size for plane in frame.planes)
            if size_bytes <= KEPT_BYTES:
                kept.append(frame)
            else:
                kept.clear()
    if not times:
        raise VideoError(f"{path} holds no frame that can be decoded: replace the file")
    timed = [time for time in times if time is not None]
    if len(timed) < len(times):  # raw streams tell no times
        timed = [place * frame_s for place in range(len(times))]
    # A damaged clock that runs backwards stands still instead: segments need an order.
    shown_s: NDArray[np.float64] = np.maximum.accumulate(np.array(timed) - timed[0])
    no_times = np.empty(0, dtype=np.int64)
    return VideoIndex(path, IN_ORDER, shown_s, _end_s(shown_s, frame_s), no_times, (), tuple(kept))


@dataclass(frozen=True, eq=False)
class _Packets:
    """What a file says of its coded frames, in the order of decoding, before they are decoded.

    Attributes:
        pts: ``(m,)`` int64, when each is shown, in the stream's unit; `_UNKNOWN` where not said.
        dts: ``(m,)`` int64, when each is decoded, likewise.
        is_key: ``(m,)`` bool, whether decoding can begin at it.
        is_hidden: ``(m,)`` bool, whether it is decoded and not shown (edit lists).
        picture: The first frame that is shown; None if it cannot be decoded.
    """

    pts: NDArray[np.int64]
    dts: NDArray[np.int64]
    is_key: NDArray[np.bool_]
    is_hidden: NDArray[np.bool_]
    picture: VideoFrame | None


def _demux(container: InputContainer, stream: VideoStream) -> _Packets:
    """Read all packets of a stream, and decode up to the first picture."""
    pts, dts, is_key, is_hidden = array("q"), array("q"), bytearray(), bytearray()
    picture: VideoFrame | None = None
    is_whole = True
    is_h264 = codec_of(stream) == "h264"
    extradata = stream.codec_context.extradata
    for packet in container.demux(stream):
        if picture is None and is_whole:
            try:
                picture = next(iter(stream.decode(packet)), None)
            except av.FFmpegError:  # whoever decodes in order is told
                is_whole = False
        if packet.size:
            pts.append(_UNKNOWN if packet.pts is None else packet.pts)
            dts.append(_UNKNOWN if packet.dts is None else packet.dts)
            is_key.append(
                packet.is_keyframe and (not is_h264 or is_clean_start(bytes(packet), extradata))
            )
            is_hidden.append(packet.is_discard)
    return _Packets(
        np.array(pts, dtype=np.int64),
        np.array(dts, dtype=np.int64),
        np.array(is_key, dtype=np.bool_),
        np.array(is_hidden, dtype=np.bool_),
        picture,
    )


def _index_of(
    path: str, container: InputContainer, stream: VideoStream, packets: _Packets
) -> VideoIndex | None:
    """Return the index that the packets tell; None where it is not sure that it is right."""
    shown = np.sort(packets.pts[~packets.is_hidden])
    keys = np.flatnonzero(packets.is_key)
    if not (
        container.format.name in (MP4, MATROSKA)
        and codec_of(stream) in INDEXED
        and packets.picture is not None
        and len(shown)
        and packets.pts.min() != _UNKNOWN
        and (np.diff(shown) > 0).all()
        and packets.is_key[0]
        and packets.pts[0] <= shown[0]  # else frames lead that need others before the file's begin
    ):
        return None
    # MP4 is sought by the time of decoding, Matroska by that of showing.
    sought = packets.dts if container.format.name == MP4 else packets.pts
    by_time = keys[np.argsort(packets.pts[keys])]
    points = tuple(zip(packets.pts[by_time].tolist(), sought[by_time].tolist(), strict=True))
    seconds = (shown - shown[0]) * float(stream.time_base or 0)
    decoder = DECORD if _is_safe_for_decord(container, stream, packets) else SEEK
    return VideoIndex(path, decoder, seconds, _end_s(seconds, _frame_s(stream)), shown, points)


def _is_safe_for_decord(container: InputContainer, stream: VideoStream, packets: _Packets) -> bool:
    """Return whether decord finds every frame of an indexed file where it seeks for it.

    It has to have a decoder; it knows no edit lists, takes a mirror for a turn, converts more than
    8 bits otherwise, needs a duration, and after a seek counts from the key frame on: frames that
    are shown before that key frame and decoded after it (open GOPs) bring it out of step.
    """
    picture = packets.picture
    # The latest key frame before each packet, in the order of decoding.
    latest_key = np.maximum.accumulate(np.where(packets.is_key, np.arange(len(packets.pts)), 0))
    return (
        find_spec("decord") is not None
        and codec_of(stream) in DECORD_CODECS
        and picture is not None
        and picture.format.name in DECORD_PIXELS
        and picture.side_data.get(DISPLAY_MATRIX) is None
        and len(container.streams.video) == 1
        and container.duration is not None
        and 0 < float(stream.average_rate or 0) < MOST_FPS
        and not packets.is_hidden.any()
        and bool((packets.pts >= packets.pts[latest_key]).all())
    )


def _check_whole(
    path: str, container: InputContainer, stream: VideoStream, packets: _Packets
) -> None:
    """Refuse a file that says that it should be longer than it is."""
    rate = float(stream.average_rate or 0)
    should_end_s = _declared_end_s(container, stream)
    if should_end_s > MOST_S:
        raise VideoError(
            f"{path} has a damaged header ({should_end_s:g} s at {rate:g} frames per second): "
            "replace the file, or leave it out"
        )
    known = np.maximum(packets.pts, packets.dts)  # H.264 in AVI says only one of them
    known = known[known != _UNKNOWN]
    if not len(known) or container.format.name not in _DECLARING:
        return
    frame_s = _frame_s(stream)
    ends_s = int(known.max()) * float(stream.time_base or 0) + frame_s
    # Sound files are seen to lack up to two frames that their header counts.
    if should_end_s - ends_s > max(2.5 * frame_s, 0.02 * should_end_s):
        raise VideoError(
            f"{path} ends early: it should last {should_end_s:.2f} s, and its frames end after "
            f"{ends_s:.2f} s: replace the file, or leave it out"
        )


def _declared_end_s(container: InputContainer, stream: VideoStream) -> float:
    """Return when the header says that the pictures end, seconds; 0 where it is silent."""
    if container.format.name == AVI:  # its duration is worked out from the file's size
        return stream.frames * _frame_s(stream)
    if stream.duration is not None and stream.time_base is not None:
        return float(((stream.start_time or 0) + stream.duration) * stream.time_base)
    if len(container.streams) == 1 and container.duration is not None:
        return container.duration / av.time_base  # Matroska declares no more than this
    return _tagged_s(stream.metadata.get("DURATION", ""))


def _tagged_s(tag: str) -> float:
    """Return the seconds of a Matroska tag ``HH:MM:SS.fraction``; 0 if it is none."""
    found = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", tag)
    return 3600 * int(found[1]) + 60 * int(found[2]) + float(found[3]) if found else 0.0


def _frame_s(stream: VideoStream) -> float:
    """Return how long a frame is shown on average, seconds; a 25th where no rate is known."""
    rate = float(stream.average_rate or stream.guessed_rate or 0)
    return 1 / rate if 0 < rate < math.inf else 1 / 25


def _end_s(shown_s: NDArray[np.float64], frame_s: float) -> float:
    """Return when the last frame is gone: it is shown for as long as the one before it."""
    return float(shown_s[-1] + (shown_s[-1] - shown_s[-2] if len(shown_s) > 1 else frame_s))
