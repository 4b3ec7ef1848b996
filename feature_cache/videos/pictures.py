"""The pictures of chosen frames of a video file, upright: through decord, or through PyAV."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import av
import numpy as np
from numpy.typing import NDArray

from .container import DISPLAY_MATRIX, VideoError, decoding, open_video
from .index import DECORD, SEEK, VideoIndex

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

Picture = NDArray[np.uint8]


class OutOfStepError(Exception):
    """A decoder gives other frames than the index says."""


def read_pictures(index: VideoIndex, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Decode frames of a file.

    Args:
        index: Of the file.
        indices: ``(T,)`` int64, in any order.

    Returns:
        ``(T, height, width, 3)`` uint8.

    Raises:
        OutOfStepError: If the decoder that the index names gives frames of other times than the
            index says: read the file in another way.
        VideoError: If a frame is damaged, or the frames are of different sizes.
    """
    with decoding(index.path):
        if index.decoder == DECORD:
            return _through_decord(index, indices)
        wanted = np.unique(indices)
        found = _by_seeking(index, wanted) if index.decoder == SEEK else _in_order(index, wanted)
        pictures = {place: upright(index.path, place, frame) for place, frame in found}
    sizes = {picture.shape[:2] for picture in pictures.values()}
    if len(sizes) > 1:
        shown = " and ".join(f"{width}×{height}" for height, width in sorted(sizes))
        raise VideoError(
            f"{index.path} changes its frames' size on the way ({shown} px): encode it anew with "
            "one size, or leave it out"
        )
    return np.stack([pictures[place] for place in indices.tolist()])


def every_picture(path: str) -> Iterator[Picture]:
    """Decode a file plainly, from its first frame to its last, without an index.

    What this gives is what frame i means; all other ways of reading are held to it.

    Yields:
        ``(height, width, 3)`` uint8.

    Raises:
        VideoError: If it is missing, damaged or no video.
    """
    with decoding(path), open_video(path) as (container, stream):
        for place, frame in enumerate(container.decode(stream)):
            yield upright(path, place, frame)


def upright(path: str, place: int, frame: VideoFrame) -> Picture:
    """Return the picture ``(height, width, 3)`` of a frame, turned and mirrored as it is shown.

    Raises:
        VideoError: If the frame is damaged, or lies at an angle that is no multiple of 90°.
    """
    if frame.is_corrupt:
        raise VideoError(f"{path}: frame {place} is damaged: replace the file, or leave it out")
    pixels: Picture = np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8)
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


def _through_decord(index: VideoIndex, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return ``(T, height, width, 3)``; raises as `read_pictures`."""
    import decord

    # What a codec has to say about a damaged frame is printed by the C library, and raised as well.
    decord.logging.set_level(decord.logging.QUIET)
    try:
        # A frame that cannot be decoded is an error: by default decord repeats its neighbour.
        # An absolute path is never taken for an address, as "10:30.mp4" would be.
        reader = decord.VideoReader(os.path.abspath(index.path), num_threads=1, fault_tol=0)
        keys = set(reader.get_key_indices())
        if len(reader) != index.n_frames or not keys <= set(index.key_places.tolist()):
            raise OutOfStepError
        shown_s = reader.get_frame_timestamp(range(len(reader)))[:, 0].astype(np.float64)
        gaps_s = np.diff(index.times_s, append=index.end_s)
        if (np.abs(shown_s - shown_s[0] - index.times_s) > gaps_s.min() / 2).any():
            raise OutOfStepError
        pixels: NDArray[np.uint8] = reader.get_batch(indices).asnumpy()
    except (decord.DECORDError, decord.DECORDLimitReachedError, UnicodeEncodeError) as error:
        raise OutOfStepError from error  # UnicodeEncodeError: a name that is not UTF-8
    return pixels


def _by_seeking(index: VideoIndex, wanted: NDArray[np.int64]) -> Iterator[tuple[int, VideoFrame]]:
    """Yield frames at ascending places: decode on, or from the key frame before if that is later.

    Raises:
        OutOfStepError: If a frame is not of the time that the index says.
    """
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
            yield target, frame


def _from_key(
    container: InputContainer, stream: VideoStream, index: VideoIndex, key: int
) -> Iterator[VideoFrame]:
    """Yield the frames from a key frame on, without those that lead it."""
    pts, sought = index.keys[key]
    container.seek(sought, stream=stream)
    for frame in container.decode(stream):
        if frame.pts is None or frame.pts >= pts:
            yield frame


def _in_order(index: VideoIndex, wanted: NDArray[np.int64]) -> Iterator[tuple[int, VideoFrame]]:
    """Yield frames at ascending places, decoding from the first to the last that is wanted."""
    if index.kept:
        yield from ((place, index.kept[place]) for place in wanted.tolist())
        return
    places = set(wanted.tolist())
    with open_video(index.path) as (container, stream):
        for place, frame in enumerate(container.decode(stream)):
            if place in places:
                yield place, frame
            if place == wanted[-1]:
                return
