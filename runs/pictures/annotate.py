"""Annotated videos: where a recognizer last looked, what it says so far, and what it has spent."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import av
import numpy as np
import torch
from matplotlib import get_data_path
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ...envs.records.render import enlargement
from ...feature_cache import every_picture, read_index
from ...recognizer import FrameConfig, centre_crop, format_gmacs, resize_frames
from ...recognizer.files.atomic import whole_file
from ...recognizer.files.disks import disk_error, refusal
from ..folders.atomic import OutputError
from ..options.parse import UsageError

BAND, TEXT, FAINT = (24, 24, 28), (236, 236, 240), (150, 150, 158)
GREEN, GREY, DARK = (40, 220, 90), (200, 200, 200), (70, 70, 70)
MOST_FONT_PX = 32
CLOCK = Fraction(1, 90_000)  # in which rates such as 30000/1001 are whole numbers

Step = Mapping[str, Any]


def annotated_paths(folder: Path, videos: Sequence[Path]) -> list[Path]:
    """Return where the annotated videos will be: ``FOLDER/STEM.mp4``.

    Raises:
        UsageError: If two of the videos would have the same file.
        OutputError: If something is there already, or nothing can be.
    """
    video_of_output: dict[Path, Path] = {}
    for video in videos:
        out = folder / f"{video.stem}.mp4"
        if out in video_of_output:
            raise UsageError(
                f"{video_of_output[out]} and {video} would both be annotated in {out}: give "
                "them in two commands, each with another --annotate"
            )
        try:
            exists = out.exists() or out.is_symlink()
        except OSError as error:
            raise _cannot_write(out, error) from error
        if exists:
            raise OutputError(f"{out} exists: nothing was touched; give another --annotate")
        video_of_output[out] = video
    return list(video_of_output)


@contextmanager
def annotation_folder(folder: Path) -> Iterator[None]:
    """Make the folder of the annotated videos; what is still empty at the end is taken away.

    Folders that were there before stay.

    Raises:
        OutputError: If it cannot be made, or nothing can be written in it.
    """
    made = []
    try:
        try:
            made = [each for each in (folder, *folder.parents) if not each.exists()]
            folder.mkdir(parents=True, exist_ok=True)
            with TemporaryDirectory(dir=folder):
                pass
        except OSError as error:
            raise _cannot_write(folder, error) from error
        yield
    finally:
        with suppress(OSError):  # not empty, or never made
            for each in made:
                each.rmdir()


def annotate(video: Path, out: Path, steps: Sequence[Step], frames: FrameConfig) -> None:
    """Write a copy of a video, without sound, that shows what the recognizer did.

    All its frames at their times, as H.264; small ones are enlarged by a whole number. Each shows
    the state after the last decision up to it: the box of the last frame that was looked at, in
    green, or grey and dashed where the last decision was to skip. A decision about no frame, the
    glance at the whole video, comes before all others.

    Args:
        video: The file that was recognized.
        out: The new file; it appears when it is complete.
        steps: The T decisions, each with ``frame`` (index in the file; None for the glance),
            ``box_px`` in the prepared frame (None where it was skipped), ``class`` and
            ``probability`` so far (both None where nothing was predicted yet), and ``gmacs`` so
            far; these three are of the order in which the frames were read. Of cubes also ``cube``:
            the number of the cube in that order, from 1.
        frames: How frames were prepared.

    Raises:
        VideoError: If a frame cannot be decoded.
        OutputError: If the file cannot be written.
    """
    index = read_index(str(video))
    rate = Fraction(index.n_frames / index.end_s).limit_denominator(100_000)
    try:
        with whole_file(out) as partial:
            pictures = _pictures(every_picture(str(video)), steps, frames)
            _write_mp4(partial, rate, zip(index.times_s.tolist(), pictures, strict=True))
    except (OSError, av.FFmpegError) as error:
        raise _cannot_write(out, error) from error


def source_box(
    box_px: Sequence[float], width_px: int, height_px: int, frames: FrameConfig
) -> tuple[float, float, float, float]:
    """Return a box of the prepared frame S×S in the pixels of the frame as it was decoded.

    Args:
        box_px: (left, top, right, bottom), right and bottom exclusive.
        width_px: Of the decoded frame.
        height_px: Of the decoded frame.
        frames: How it was resized and cropped.
    """
    # The resizing itself says how large its result is: its rounding is not repeated here.
    like = torch.zeros(1, 3, height_px, width_px, dtype=torch.uint8)
    height, width = resize_frames(like, frames).shape[-2:]
    crop_left, crop_top, _, _ = centre_crop(width, height, frames.frame_px)
    left, top, right, bottom = box_px
    x, y = width_px / width, height_px / height
    return (
        (left + crop_left) * x,
        (top + crop_top) * y,
        (right + crop_left) * x,
        (bottom + crop_top) * y,
    )


def _pictures(
    decoded: Iterator[NDArray[np.uint8]], steps: Sequence[Step], frames: FrameConfig
) -> Iterator[NDArray[np.uint8]]:
    """Yield the annotated frames ``(H, W, 3)``: a band of text, below it the frame."""
    # They may have been read in another order.
    steps = sorted(steps, key=_made_at)
    made_at = [_made_at(step) for step in steps]
    drawn, band, box = -1, np.empty((0, 0, 3), np.uint8), None
    for index, frame in enumerate(decoded):
        done = bisect_right(made_at, index)
        factor = enlargement(frame.shape[1])
        picture = frame.repeat(factor, 0).repeat(factor, 1)
        height, width = picture.shape[:2]
        if done != drawn:  # both are the same until the next decision
            drawn, band = done, _draw_band(steps[:done], width)
            seen = [step["box_px"] for step in steps[:done] if step["box_px"] is not None]
            box = source_box(seen[-1], frame.shape[1], frame.shape[0], frames) if seen else None
        if box is not None:
            left, top, right, bottom = (round(factor * edge) for edge in box)
            thickness = max(3, min(height, width) // 150)
            _draw_edge(
                picture[top:bottom, left:right], thickness, steps[done - 1]["box_px"] is not None
            )
        # H.264 wants even sides: what is missing is of the band's colour.
        canvas = np.full((len(band) + height + height % 2, width + width % 2, 3), BAND, np.uint8)
        canvas[: len(band), :width] = band
        canvas[len(band) : len(band) + height, :width] = picture
        yield canvas


def _made_at(step: Step) -> int:
    """Return at which frame of the file a step was taken; before the first one for the glance."""
    return -1 if step["frame"] is None else int(step["frame"])


def _draw_edge(window: NDArray[np.uint8], thickness: int, attended: bool) -> None:
    """Draw the edge of a box into its pixels: green, or dashed in two greys."""
    y, x = np.ogrid[: window.shape[0], : window.shape[1]]
    on_edge = np.minimum(np.minimum(y, x), np.minimum(y[::-1], x[:, ::-1])) < thickness
    dashes = (y + x) // (3 * thickness) % 2 == 0
    colours = GREEN if attended else np.where(dashes[..., None], GREY, DARK)[on_edge]
    window[on_edge] = colours


def _draw_band(done: Sequence[Step], width: int) -> NDArray[np.uint8]:
    """Return the band ``(height, W, 3)`` after some decisions: two lines of text."""
    size = min(width // 22, MOST_FONT_PX)
    # matplotlib's: it has Latin, Greek and Cyrillic letters, where Pillow's own has plain ones.
    font = ImageFont.truetype(f"{get_data_path()}/fonts/ttf/DejaVuSans.ttf", size)
    image = Image.new("RGB", (width, 2 * (3 * size // 2)), BAND)
    draw = ImageDraw.Draw(image)
    name, probability_text, verdict, colour = "", "no prediction yet", "", GREY
    looks = sum(step["box_px"] is not None for step in done)
    n_frames = sum(step["frame"] is not None for step in done)
    gmacs = 0.0
    if done:
        last = done[-1]
        gmacs = last["gmacs"]
        if last["class"] is not None:
            name, probability_text = str(last["class"]), f" {100 * last['probability']:.1f} %"
        verdict, colour = ("looked", GREEN) if last["box_px"] is not None else ("skipped", GREY)
        if last["frame"] is None:
            verdict = "glanced"
        elif "cube" in last:
            verdict = f"cube {last['cube']}"
    room = width - 3 * size - font.getlength(probability_text + verdict)
    name = _shorten(name, font, room)
    for line, left, right in (
        (0, (name + probability_text, TEXT), (verdict, colour)),
        (1, (f"looked at {looks} of {n_frames}", FAINT), (format_gmacs(gmacs, 3), TEXT)),
    ):
        y = (1.3 * line + 1.2) * size
        draw.text((size / 2, y), left[0], left[1], font, anchor="ls")
        draw.text((width - size / 2, y), right[0], right[1], font, anchor="rs")
    return np.asarray(image)


def _shorten(text: str, font: ImageFont.FreeTypeFont, room_px: float) -> str:
    """Return a text on one line, cut to end in an ellipsis where it is too wide."""
    text = " ".join(text.split())
    if font.getlength(text) <= room_px:
        return text
    kept = bisect_right(range(len(text)), room_px, key=lambda n: font.getlength(text[:n] + "…"))
    return text[: max(0, kept - 1)] + "…"


def _write_mp4(
    path: Path, rate: Fraction, shown: Iterator[tuple[float, NDArray[np.uint8]]]
) -> None:
    """Write pictures as an H.264 file.

    Args:
        path: The file.
        rate: Frames per second on average.
        shown: Times, seconds, and pictures ``(H, W, 3)`` uint8 with even sides.
    """
    with av.open(f"file:{path.absolute()}", "w", format="mp4") as container:
        stream = container.add_stream(
            "libx264", rate=rate, options={"preset": "veryfast", "crf": "18"}
        )
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = CLOCK
        for index, (at_s, picture) in enumerate(shown):
            if index == 0:
                stream.height, stream.width = picture.shape[:2]
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = round(at_s / CLOCK), CLOCK
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _cannot_write(out: Path, error: Exception) -> OutputError:
    return OutputError(refusal(out, disk_error(error) or error, "give another --annotate"))
