"""The index of a video file: which frames a player shows, when, and where decoding can begin."""

from __future__ import annotations

import math
import re
from array import array
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import av
import numpy as np
from numpy.typing import NDArray

from .container import DISPLAY_MATRIX, VideoError, codec_of, decoding, open_video
from .h264 import H264Scan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

# The two ways to read.
SEEK, IN_ORDER = "pyav", "pyav in order"
# Up to so many frames decoding all costs no more than seeking, and nothing has to be believed.
SHORT_FRAMES = 5000
MP4, MATROSKA, AVI = "mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi"
# In MP4 and Matroska the packets of these, and those of H.264 with regular headers, are frames.
SEEKABLE = ("vp9", "av1", "mjpeg", "prores", "ffv1")
# Containers whose header says how long the pictures last, so that one that was cut is noticed.
_DECLARING = (MP4, MATROSKA, AVI)
# What no real video exceeds: beyond, a header is damaged.
MOST_S = 30 * 24 * 3600.0
_UNKNOWN = -(1 << 63)  # a time that the file does not say
_SAME_S = 1e-6  # times that are nearer than this are equal


@dataclass(frozen=True, eq=False)
class VideoIndex:
    """The frames of a video file: frame i is the i-th that a player shows from first to last.

    Presentation order, with edit lists applied; frames that are only decoded to show others, such
    as those before a cut, are not counted. An index is read from the file's packets. Where a video
    is decoded in order it is no more than a guess, which `in_order` replaces by what was decoded.

    Attributes:
        path: The file.
        decoder: How it is read: ``pyav`` seeks to the key frame before and decodes on; ``pyav in
            order`` decodes from the first to the last.
        times_s: ``(n,)`` float64, when each frame is shown, seconds after the first one.
        end_s: When the last one is gone, seconds after the first one was shown.
        pts: ``(n,)`` int64, the same times as the file has them, where it is sought.
        keys: Key frames as (pts, what to seek for), ascending, where it is sought.
        is_simple: Whether also a reader that takes each packet for a frame, and believes all marks
            of key frames, would find every frame: as earlier versions did.
    """

    path: str
    decoder: str
    times_s: NDArray[np.float64]
    end_s: float
    pts: NDArray[np.int64]
    keys: tuple[tuple[int, int], ...] = ()
    is_simple: bool = False

    @property
    def n_frames(self) -> int:
        """How many frames a player shows."""
        return len(self.times_s)

    @cached_property
    def key_places(self) -> NDArray[np.int64]:
        """Of each key frame, the first frame ``(m,)`` that is shown from it on."""
        return np.searchsorted(self.pts, [pts for pts, _ in self.keys])

    def in_order(self, times_s: Sequence[float | None], frame_s: float) -> VideoIndex:
        """Return the index that decoding in order has found.

        Args:
            times_s: Of all frames as they came, seconds; None where the file tells none.
            frame_s: How long a frame is shown on average, seconds.
        """
        known = [time for time in times_s if time is not None]
        if len(known) < len(times_s):  # raw streams tell no times
            known = [place * frame_s for place in range(len(times_s))]
        shown_s = _since_first(np.array(known, dtype=np.float64))
        end_s = _end_s(shown_s, frame_s)
        return replace(self, decoder=IN_ORDER, times_s=shown_s, end_s=end_s)

    def span(self, start_s: float | None, end_s: float | None) -> tuple[int, int]:
        """Return the first frame of a segment and how many it has: those shown in [start, end).

        A segment in which no frame begins has the one that is on display. A list that rounds up is
        forgiven: a segment may end up to a second after the file.

        Args:
            start_s: Seconds after the first frame; None is the first frame.
            end_s: Likewise; None is the end of the file.

        Raises:
            VideoError: If the segment ends before it begins, begins after the last frame, or ends
                more than a second after that.
        """
        begin, end = start_s or 0.0, math.inf if end_s is None else end_s
        until = "its end" if end_s is None else f"{end_s:g} s"
        if not 0 <= begin < end:
            raise VideoError(f"{self.path}: there is no segment from {begin:g} s to {until}")
        if begin >= self.end_s or (end_s is not None and end_s > self.end_s + 1):
            raise VideoError(
                f"{self.path}: the list asks for {begin:g} s to {until}, but the file lasts "
                f"{self.end_s:.2f} s: correct start_s and end_s"
            )
        first, last = np.searchsorted(self.times_s, (begin - _SAME_S, end - _SAME_S)).tolist()
        return (first, last - first) if first < last else (max(first - 1, 0), 1)


def read_index(path: str, short_frames: int = SHORT_FRAMES) -> VideoIndex:
    """Read a file's index from its packets, without decoding them.

    Args:
        path: The file.
        short_frames: Up to so many frames it is decoded in order.

    Raises:
        VideoError: If it is missing, damaged, no video, or ends before it should.
    """
    with decoding(path), open_video(path) as (container, stream):
        packets = _demux(container, stream)
        _check_whole(path, container, stream, packets)
        return _index_of(path, container, stream, packets, short_frames)


@dataclass(frozen=True, eq=False)
class _Packets:
    """What a file says of its coded frames, in the order of decoding, before they are decoded.

    Attributes:
        pts: ``(m,)`` int64, when each is shown, in the stream's unit; `_UNKNOWN` where not said.
        dts: ``(m,)`` int64, when each is decoded, likewise.
        is_key: ``(m,)`` bool, whether decoding can begin at it.
        is_hidden: ``(m,)`` bool, whether it is decoded and not shown (edit lists).
        picture: The first frame that is shown; None if it cannot be decoded.
        scan: Of the headers of H.264; None for other codecs.
    """

    pts: NDArray[np.int64]
    dts: NDArray[np.int64]
    is_key: NDArray[np.bool_]
    is_hidden: NDArray[np.bool_]
    picture: VideoFrame | None
    scan: H264Scan | None


def _demux(container: InputContainer, stream: VideoStream) -> _Packets:
    """Read all packets of a stream, and decode up to the first picture."""
    pts, dts, is_key, is_hidden = array("q"), array("q"), bytearray(), bytearray()
    picture: VideoFrame | None = None
    is_whole = True
    scan = H264Scan(stream.codec_context.extradata) if codec_of(stream) == "h264" else None
    for packet in container.demux(stream):
        if picture is None and is_whole:
            try:
                picture = next(iter(stream.decode(packet)), None)
            except av.FFmpegError:  # whoever decodes in order is told
                is_whole = False
        if packet.size:
            pts.append(_UNKNOWN if packet.pts is None else packet.pts)
            dts.append(_UNKNOWN if packet.dts is None else packet.dts)
            is_clean = scan is None or scan.add(bytes(packet))
            is_key.append(packet.is_keyframe and is_clean)
            is_hidden.append(packet.is_discard)
    return _Packets(
        np.array(pts, dtype=np.int64),
        np.array(dts, dtype=np.int64),
        np.array(is_key, dtype=np.bool_),
        np.array(is_hidden, dtype=np.bool_),
        picture,
        scan,
    )


def _index_of(
    path: str,
    container: InputContainer,
    stream: VideoStream,
    packets: _Packets,
    short_frames: int,
) -> VideoIndex:
    """Return the index that the packets tell, and whether it may be sought by it."""
    frame_s, unit_s = frame_seconds(stream), float(stream.time_base or 0)
    seconds: NDArray[np.float64]
    shown = np.sort(packets.pts[~packets.is_hidden])
    if not _tells_all_frames(container, stream, packets, shown):
        n = max(1, len(shown))
        if len(shown) and shown[0] != _UNKNOWN:
            seconds = _since_first(shown.astype(np.float64) * unit_s)
        else:
            seconds = np.arange(n, dtype=np.float64) * frame_s
        no_times = np.empty(0, dtype=np.int64)
        return VideoIndex(path, IN_ORDER, seconds, _end_s(seconds, frame_s), no_times)
    # MP4 is sought by the time of decoding, Matroska by that of showing.
    sought = packets.dts if container.format.name == MP4 else packets.pts
    keys = np.flatnonzero(packets.is_key)
    by_time = keys[np.argsort(packets.pts[keys])]
    points = tuple(zip(packets.pts[by_time].tolist(), sought[by_time].tolist(), strict=True))
    seconds = _since_first(shown.astype(np.float64) * unit_s)
    # After a seek into open GOPs, frames that lead the key frame cannot be told from damaged ones.
    may_seek = len(shown) > short_frames and (packets.scan is None or packets.scan.is_closed)
    decoder = SEEK if may_seek else IN_ORDER
    end_s, is_simple = _end_s(seconds, frame_s), _is_simple(packets)
    return VideoIndex(path, decoder, seconds, end_s, shown, points, is_simple)


def _tells_all_frames(
    container: InputContainer, stream: VideoStream, packets: _Packets, shown: NDArray[np.int64]
) -> bool:
    """Return whether the packets are sure to say which frames are shown, and when.

    ``shown`` are the times of those that are not hidden, ascending.
    """
    if container.format.name not in (MP4, MATROSKA) or packets.picture is None or not len(shown):
        return False
    if packets.scan is None and codec_of(stream) not in SEEKABLE:
        return False
    if packets.scan is not None and not packets.scan.is_regular:
        return False
    hidden = packets.pts[packets.is_hidden]
    return bool(
        packets.pts.min() != _UNKNOWN
        and (np.diff(shown) > 0).all()
        and packets.is_key[0]
        # Else frames lead the first key frame that need others before the file's begin.
        and packets.pts[0] <= shown[0]
        # What is hidden is cut off at the ends, not out of the middle.
        and not ((hidden > shown[0]) & (hidden < shown[-1])).any()
    )


def _is_simple(packets: _Packets) -> bool:
    """Return `VideoIndex.is_simple` for packets that tell all frames."""
    picture, scan = packets.picture, packets.scan
    return (
        picture is not None
        and scan is not None
        and scan.is_closed
        and not packets.is_hidden.any()
        and picture.format.name in ("yuv420p", "yuvj420p")
        and picture.side_data.get(DISPLAY_MATRIX) is None
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
    frame_s = frame_seconds(stream)
    ends_s = int(known.max()) * float(stream.time_base or 0) + frame_s
    # Whole files are seen to lack up to two frames that their header counts.
    if should_end_s - ends_s > max(2.5 * frame_s, 0.02 * should_end_s):
        raise VideoError(
            f"{path} ends early: it should last {should_end_s:.2f} s, and its frames end after "
            f"{ends_s:.2f} s: replace the file, or leave it out"
        )


def _declared_end_s(container: InputContainer, stream: VideoStream) -> float:
    """Return when the header says that the pictures end, seconds; 0 where it is silent."""
    if container.format.name == AVI:  # its duration is worked out from the file's size
        return stream.frames * frame_seconds(stream)
    if stream.duration is not None and stream.time_base is not None:
        return float(((stream.start_time or 0) + stream.duration) * stream.time_base)
    if len(container.streams) == 1 and container.duration is not None:
        return container.duration / av.time_base  # Matroska declares no more than this
    return _tagged_s(stream.metadata.get("DURATION", ""))


def _tagged_s(tag: str) -> float:
    """Return the seconds of a Matroska tag ``HH:MM:SS.fraction``; 0 if it is none."""
    match = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", tag)
    return 3600 * int(match[1]) + 60 * int(match[2]) + float(match[3]) if match else 0.0


def frame_seconds(stream: VideoStream) -> float:
    """Return how long a frame is shown on average, seconds; a 25th where no rate is known."""
    rate = float(stream.average_rate or stream.guessed_rate or 0)
    return 1 / rate if 0 < rate < math.inf else 1 / 25


def _since_first(times_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return times after the first; a damaged clock that runs backwards stands still instead."""
    since: NDArray[np.float64] = np.maximum.accumulate(times_s - times_s[0])
    return since


def _end_s(shown_s: NDArray[np.float64], frame_s: float) -> float:
    """Return when the last frame is gone: it is shown for as long as the one before it."""
    return float(shown_s[-1] + (shown_s[-1] - shown_s[-2] if len(shown_s) > 1 else frame_s))
