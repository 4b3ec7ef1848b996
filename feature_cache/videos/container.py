"""Opening a video file: a path is a file, never an address, and what cannot be read says why."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import av
from av.stream import Disposition

from ...recognizer import FocusgymError
from ...recognizer.files.regular import KINDS, open_regular
from ...recognizer.limits import MOST_PIXELS

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

# Texts that name other files or addresses begin so, or have this in their first lines.
_PLAYLIST = re.compile(
    rb"\s*(#EXTM3U|ffconcat version|v=0\s)|[^\0]*<(MPD|AssetMap|CompositionPlaylist)\b"
)
_HEAD_BYTES = 4096
_CUT_ANYWHERE = ("mpegts", "mpeg")  # broadcasts, which begin amid frames that refer to others
_TEXT_FORMATS = ("tty", "lavfi", "concat", "hls", "dash", "sdp")  # not videos, whatever is in them
DISPLAY_MATRIX = "DISPLAYMATRIX"  # by which a player turns and mirrors a frame
_ADVICE = "replace the file, or leave it out"
_ENCODE = "encode it anew, such as with `ffmpeg -i FILE -c:v libx264 NEW.mp4`"


class VideoError(FocusgymError):
    """A video cannot be read; the message names the file."""


@contextmanager
def decoding(path: str) -> Iterator[None]:
    """Turn what a decoder raises inside the block into a `VideoError` that names the file.

    Raises:
        VideoError: Also if there is no such file, or if it is no regular file.
    """
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        raise VideoError(f"{path}: no such video: check the path") from error
    except OSError as error:
        raise VideoError(f"{path} cannot be read ({error.strerror}): check the path") from error
    except ValueError as error:  # a null character
        raise VideoError(f"{path!r} is no name of a file: check the path") from error
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        kind = KINDS.get(stat.S_IFMT(mode), "something else")
        raise VideoError(
            f"{path} is {kind}, not a file: write the video into a file first, and give that"
        )
    try:
        yield
    except (av.FFmpegError, OSError, RuntimeError, AssertionError, UnicodeError) as error:
        raise VideoError(f"{path} cannot be decoded ({_reason(error)}): {_ADVICE}") from error


def _reason(error: Exception) -> str:
    """Return the one line in which a library says what is wrong, without its numbers."""
    if isinstance(error, av.DecoderNotFoundError):
        return "there is no decoder here for its codec"
    if isinstance(error, (av.FFmpegError, OSError)) and error.strerror:
        return str(error.strerror)
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


@contextmanager
def open_video(path: str) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a video file with PyAV, to be decoded in one thread; use inside `decoding`.

    Yields:
        The open file, and its stream of pictures: the first one that is no cover.

    Raises:
        VideoError: If it is a folder or a playlist, holds no pictures but sound, is of a codec that
            cannot be decoded here, or has frames of more than `MOST_PIXELS`.
    """
    if os.path.isdir(path):
        raise VideoError(f"{path} is a folder: give a video file in it")
    with open_regular(path) as file:
        head = file.read(_HEAD_BYTES).removeprefix(b"\xef\xbb\xbf")
    if _PLAYLIST.match(head):  # before it is opened: what it names is never asked for
        raise VideoError(f"{path} is a playlist, which names other files: give the video itself")
    # "file:" keeps names such as "10:30.mp4" from being taken for an address.
    name = f"file:{os.path.abspath(path)}"
    # Before its pixels are allocated: what a stream says of its frames, not only what a file does.
    limit = {"max_pixels": str(MOST_PIXELS)}
    with av.open(name, metadata_errors="ignore", options=limit) as container:
        if container.format.name in _TEXT_FORMATS:
            raise VideoError(f"{path} is text, not a video: {_ADVICE}")
        stream = _stream_of(path, container)
        stream.thread_count = 1
        stream.codec_context.options = limit
        if container.format.name not in _CUT_ANYWHERE:
            # What a decoder makes up for damage was never filmed, and each makes up another thing.
            stream.codec_context.options = {**limit, "err_detect": "explode"}
        try:
            yield container, stream
        except av.ArgumentError as error:
            if stream.width:
                raise
            raise VideoError(
                f"{path} has frames without a size, or of more than {MOST_PIXELS:,} pixels: encode "
                "it anew in a smaller size"
            ) from error


def _stream_of(path: str, container: InputContainer) -> VideoStream:
    """Return the first stream of pictures; raises as `open_video`."""
    videos = container.streams.video
    shown = [each for each in videos if not each.disposition & Disposition.attached_pic]
    if not shown:
        sound = ", only sound" if container.streams.audio else ""
        cover = " and a cover picture" if videos else ""
        raise VideoError(
            f"{path} holds no video{sound}{cover} ({container.format.long_name}): {_ADVICE}"
        )
    stream = shown[0]
    if getattr(stream, "codec_context", None) is None:
        raise VideoError(f"{path}: there is no decoder here for its codec: {_ENCODE}")
    if stream.width * stream.height > MOST_PIXELS:
        raise VideoError(
            f"{path} has frames of {stream.width}×{stream.height} px; expected at most "
            f"{MOST_PIXELS:,} pixels in a frame: encode it anew in a smaller size"
        )
    return stream


def codec_of(stream: VideoStream) -> str:
    """Return the name of a stream's codec, whatever the library that decodes it: such as av1."""
    return str(stream.codec_context.codec.canonical_name)
