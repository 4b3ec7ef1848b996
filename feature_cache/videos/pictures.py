"""The pictures of chosen frames of a video file, upright, decoded by PyAV."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from .container import DISPLAY_MATRIX, VideoError, decoding, open_video
from .index import SEEK, VideoIndex, frame_seconds

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

Picture = NDArray[np.uint8]
Pictures = dict[int, Picture]


class OutOfStepError(Exception):
    """A file that is sought gives other frames than its index says, or none."""


def read_pictures(
    index: VideoIndex, indices: NDArray[np.int64]
) -> tuple[NDArray[np.uint8], VideoIndex]:
    """Decode frames of a file.

    Args:
        index: Of the file. Where that is read in order, its index is no more than a guess.
        indices: ``(T,)`` int64, in any order.

    Returns:
        ``(T', height, width, 3)`` uint8, the pictures at those indices that there are; and the
        index, for a file that is read in order as its decoding tells: with another number of
        frames the indices may have to be chosen again.

    Raises:
        OutOfStepError: If a file that is sought gives frames of other times than its index says,
            or cannot be decoded there: read it in order.
        VideoError: If a frame is damaged, or the frames are of different sizes.
    """
    wanted = np.unique(indices)
    with decoding(index.path):
        if index.decoder == SEEK:
            pictures = dict(_by_seeking(index, wanted))
        else:
            pictures, index = _in_order(index, wanted)
    return stacked(index.path, [pictures[i] for i in indices.tolist() if i in pictures]), index


def stacked(path: str, pictures: list[Picture]) -> NDArray[np.uint8]:
    """Return pictures as one array ``(T, height, width, 3)``.

    Raises:
        VideoError: If they are of different sizes.
    """
    check_sizes(path, {(picture.shape[1], picture.shape[0]) for picture in pictures})
    return np.stack(pictures) if pictures else np.empty((0, 0, 0, 3), np.uint8)


def check_sizes(path: str, sizes_px: set[tuple[int, int]]) -> None:
    """Refuse a file whose frames are of several sizes (width, height).

    Raises:
        VideoError: If they are.
    """
    if len(sizes_px) > 1:
        shown = " and ".join(f"{width}×{height}" for width, height in sorted(sizes_px))
        raise VideoError(
            f"{path} changes its frames' size on the way ({shown} px): encode it anew with one "
            "size, or leave it out"
        )


def every_picture(path: str) -> Iterator[Picture]:
    """Decode a file plainly, from its first frame to its last, without an index.

    What this gives is what frame i means; all other ways of reading are held to it.

    Yields:
        ``(height, width, 3)`` uint8.

    Raises:
        VideoError: If it is missing, damaged or no video.
    """
    converter = VideoReformatter()
    with decoding(path), open_video(path) as (container, stream):
        for place, frame in enumerate(container.decode(stream)):
            yield upright(path, place, frame, converter)


def read_every(path: str, indices: NDArray[np.int64]) -> tuple[NDArray[np.uint8], int]:
    """Decode a file plainly, and keep some pictures; raises as `every_picture`.

    Args:
        path: The file.
        indices: ``(T,)`` int64, in any order.

    Returns:
        ``(T', height, width, 3)`` uint8, the pictures at those indices that there are; and how many
        frames the file has.
    """
    places = set(indices.tolist())
    pictures: Pictures = {}
    n_frames = 0
    for place, picture in enumerate(every_picture(path)):
        n_frames = place + 1
        if place in places:
            pictures[place] = picture
    return stacked(path, [pictures[i] for i in indices.tolist() if i in pictures]), n_frames


def upright(path: str, place: int, frame: VideoFrame, converter: VideoReformatter) -> Picture:
    """Return the picture ``(height, width, 3)`` of a frame, turned and mirrored as it is shown.

    Args:
        path: The frame's file.
        place: Its number there.
        frame: The decoded frame.
        converter: One for all frames of a file: what it sets up, which with PyAV 17 starts a thread
            per core, takes longer than to convert a small frame.

    Raises:
        VideoError: If the frame is damaged, or lies at an angle that is no multiple of 90°.
    """
    if frame.is_corrupt:
        raise VideoError(f"{path}: frame {place} is damaged: replace the file, or leave it out")
    pixels: Picture = np.asarray(converter.reformat(frame, format="rgb24").to_ndarray(), np.uint8)
    matrix: Any = frame.side_data.get(DISPLAY_MATRIX)
    if matrix is None:
        return pixels
    # A pixel at (x, y) goes to (ax + cy, bx + dy); 16.16 fixed point.
    a, b, _, c, d = np.frombuffer(bytes(matrix), dtype=np.int32)[:5].tolist()
    if (a or d) and (b or c):
        raise VideoError(
            f"{path} is to be shown at an angle that is no multiple of 90°: encode it anew"
        )
    if b or c:
        pixels, a, d = pixels.transpose(1, 0, 2), c, b
    return np.ascontiguousarray(pixels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])


def count_in_order(index: VideoIndex) -> VideoIndex:
    """Return the index that decoding all of a file tells; raises as `read_pictures`."""
    with decoding(index.path):
        return _in_order(index, np.empty(0, dtype=np.int64))[1]


def _by_seeking(index: VideoIndex, wanted: NDArray[np.int64]) -> Iterator[tuple[int, Picture]]:
    """Yield pictures at ascending places: decode on, or from the key frame before if it is later.

    Raises:
        OutOfStepError: If a frame is not of the time that the index says.
    """
    converter = VideoReformatter()
    with open_video(index.path) as (container, stream):
        frames, place = container.decode(stream), 0  # place: of the frame that comes next
        for target in wanted.tolist():
            key = int(np.searchsorted(index.key_places, target, side="right")) - 1
            begin = int(index.key_places[key])
            try:
                if begin > place:
                    frames, place = _from_key(container, stream, index, key), begin
                for frame in frames:
                    place += 1
                    if frame.pts != index.pts[place - 1]:
                        raise OutOfStepError
                    if place > target:
                        break
                else:
                    raise OutOfStepError
            except av.FFmpegError as error:  # whoever decodes in order says what is damaged
                raise OutOfStepError from error
            yield target, upright(index.path, target, frame, converter)


def _from_key(
    container: InputContainer, stream: VideoStream, index: VideoIndex, key: int
) -> Iterator[VideoFrame]:
    """Yield the frames from a key frame on, without those that lead it."""
    pts, sought = index.keys[key]
    container.seek(sought, stream=stream)
    for frame in container.decode(stream):
        if frame.pts is None or frame.pts >= pts:
            yield frame


def _in_order(index: VideoIndex, wanted: NDArray[np.int64]) -> tuple[Pictures, VideoIndex]:
    """Decode all frames; return the pictures at the wanted places, and the index that this tells.

    Raises:
        VideoError: If there is no frame, or a wanted one is damaged.
    """
    places = set(wanted.tolist())
    times: list[float | None] = []
    pictures: Pictures = {}
    sizes_px: set[tuple[int, int]] = set()
    converter = VideoReformatter()
    with open_video(index.path) as (container, stream):
        for place, frame in enumerate(container.decode(stream)):
            times.append(frame.time)
            sizes_px.add((frame.width, frame.height))
            if place in places:
                pictures[place] = upright(index.path, place, frame, converter)
        frame_s = frame_seconds(stream)
    if not times:
        raise VideoError(f"{index.path} holds no frame that can be decoded: replace the file")
    check_sizes(index.path, sizes_px)
    return pictures, index.in_order(times, frame_s)
