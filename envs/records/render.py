"""Pictures of an episode: the frame, the glance grid, the chosen box, and a band that says how."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ...feature_cache import read_view
from .record import EpisodeRecord

SMALLEST_PX = 336
GRID_ALPHA, WIDTH_EM = 0.25, 24  # a band is 24 em wide
BAND, TEXT, FAINT, SLOT = (24, 24, 28), (236, 236, 240), (150, 150, 158), (52, 52, 60)
GREEN, RED, GREY, DARK = (40, 220, 90), (255, 110, 90), (200, 200, 200), (70, 70, 70)

Colour = tuple[int, int, int]
Box = tuple[float, float, float, float]
Font = ImageFont.FreeTypeFont


@dataclass(frozen=True)
class Caption:
    """What the band above a picture says.

    Attributes:
        label: Name of the true class; shortened where it does not fit.
        n_decisions: D, decisions of a whole episode.
        confidences: On the true label, after each decision so far; the last one is printed, all
            are drawn. Empty before the first decision.
        correct: Whether the prediction is right now; None before the first decision.
        gmacs: Cost so far, GMACs; None where it is not known.
        count: How many decisions were made, in words; None for ``t = 1 / 6``.
        unseen: What is said where f_L did not run.

    Raises:
        ValueError: If there are more confidences than decisions.
    """

    label: str
    n_decisions: int
    confidences: tuple[float, ...] = ()
    correct: bool | None = None
    gmacs: float | None = None
    count: str | None = None
    unseen: str = "skipped"

    def __post_init__(self) -> None:
        """Check the number of decisions."""
        if len(self.confidences) > self.n_decisions:
            raise ValueError(
                f"expected at most n_decisions={self.n_decisions} confidences, one per decision; "
                f"got {len(self.confidences)}"
            )


def enlargement(frame_px: int) -> int:
    """Return the whole number by which a frame of side S is enlarged: to 336 px or more."""
    return max(1, -(-SMALLEST_PX // frame_px))


def picture_size(frame_px: int) -> tuple[int, int]:
    """Return (H, W) of the pictures of S×S frames, pixels; both even, as H.264 wants it."""
    side = enlargement(frame_px) * frame_px
    width = side + side % 2
    return _band_height(width) + width, width


def draw_decision(
    frame: Tensor,
    caption: Caption,
    cells: tuple[int, int],
    box_px: Box | None = None,
    attended: bool = True,
) -> NDArray[np.uint8]:
    """Draw one decision: a band of text, and below it the frame with grid and box.

    The frame is enlarged by a whole number, its pixels repeated; it stands at the left of the
    last rows. The band says the true label, how many decisions were made, the confidence so far
    (a bar per decision), whether the prediction is right, and the cost.

    Args:
        frame: ``(3, S, S)`` uint8, the frame that the decision is about.
        caption: What the band says.
        cells: (h, w) of the glance map, whose cells the faint lines part.
        box_px: (left, top, right, bottom) of the chosen option in the S×S frame, right and bottom
            exclusive, also between pixels; None for none. Its edge is drawn inside it.
        attended: Whether f_L ran: the edge is green; else it is grey and dashed, and the band says
            so, as the caption has it.

    Returns:
        ``(H, W, 3)`` uint8, of `picture_size`.

    Raises:
        ValueError: If the frame is no square uint8 picture, there is no cell, or the box is not
            in the frame.
    """
    if frame.dtype != torch.uint8 or frame.shape != (3, *frame.shape[-1:] * 2):
        raise ValueError(
            f"expected a frame (3, S, S) of uint8; got {frame.dtype} of shape "
            f"{tuple(frame.shape)}: give one frame of read_view"
        )
    if min(cells) < 1:
        raise ValueError(f"cells must be (h, w) of the glance map, both positive; got {cells}")
    side_px = frame.shape[1]
    factor = enlargement(side_px)
    height, width = picture_size(side_px)
    band = height - width
    picture = np.full((height, width, 3), BAND, dtype=np.uint8)
    picture[:band] = _draw_band(caption, attended, width)
    pixels = frame.permute(1, 2, 0).cpu().numpy().repeat(factor, 0).repeat(factor, 1)
    _draw_grid(pixels, cells)
    if box_px is not None:
        left, top, right, bottom = box_px
        if not (0 <= left < right <= side_px and 0 <= top < bottom <= side_px):
            raise ValueError(
                f"box_px must be (left, top, right, bottom) within 0 and {side_px}; got {box_px}"
            )
        left, top, right, bottom = (round(factor * edge) for edge in box_px)
        window = pixels[top:bottom, left:right]
        _draw_edge(window, attended)
    picture[band : band + len(pixels), : len(pixels)] = pixels
    return picture


def render_record(record: EpisodeRecord) -> NDArray[np.uint8]:
    """Draw every decision of a recorded episode, its frames read from the video file.

    Of a segment of several frames the middle one is shown.

    Returns:
        ``(D, H, W, 3)`` uint8, as `draw_decision` draws them.

    Raises:
        VideoError: If the video is gone or cannot be read; the message names it.
    """
    frames = record.frames.middle(read_view(record.clip, record.frames, record.view))
    n = record.n_decisions
    pictures = np.empty((n, *picture_size(record.frames.frame_px), 3), dtype=np.uint8)
    for d in range(n):
        caption, box = record_caption(record, d + 1), record_box(record, d)
        pictures[d] = draw_decision(
            frames[record.segments[d]], caption, record.map_cells, box, bool(record.attended[d])
        )
    return pictures


def record_caption(record: EpisodeRecord, n_decisions: int) -> Caption:
    """Return what the band says after the first ``n_decisions`` of a record."""
    last = n_decisions - 1
    return Caption(
        record.label,
        record.frames.steps,
        tuple(record.confidences[:n_decisions].tolist()),
        bool(record.correct[last]) if n_decisions else None,
        float(record.gmacs[last]) if n_decisions else None,
    )


def record_box(record: EpisodeRecord, decision: int) -> Box | None:
    """Return the box that was chosen in a decision, pixels; None where none was."""
    left, top, right, bottom = record.boxes_px[decision].tolist()
    return (left, top, right, bottom) if right > left and bottom > top else None


def _draw_grid(pixels: NDArray[np.uint8], cells: tuple[int, int]) -> None:
    """Blend a line into white, or on bright pixels black, where each cell but the first begins."""
    side, (h, w) = len(pixels), cells
    on_line = np.zeros((side, side), dtype=np.bool_)
    on_line[[i * side // h for i in range(1, h)]] = True
    on_line[:, [j * side // w for j in range(1, w)]] = True
    under = pixels[on_line]
    other = np.where(under.mean(axis=1, keepdims=True) < 160, 255, 0)
    pixels[on_line] = np.rint((1 - GRID_ALPHA) * under + GRID_ALPHA * other)


def _draw_edge(window: NDArray[np.uint8], attended: bool) -> None:
    """Draw the edge of a box into its pixels: 3 px, green, or dashed in two greys."""
    y, x = np.ogrid[: window.shape[0], : window.shape[1]]
    on_edge = np.minimum(np.minimum(y, x), np.minimum(y[::-1], x[:, ::-1])) < 3
    if attended:
        window[on_edge] = GREEN
    else:
        window[on_edge] = np.where(((y + x) // 8 % 2 == 0)[..., None], GREY, DARK)[on_edge]


def _band_height(width: int) -> int:
    """Return the height of three lines and their margins, even."""
    return -(-(width // WIDTH_EM) * 5 // 2) * 2


def _draw_band(caption: Caption, attended: bool, width: int) -> NDArray[np.uint8]:
    """Return the band ``(height, W, 3)``: three lines, what stands at the right drawn first."""
    size, t = width // WIDTH_EM, len(caption.confidences)
    margin, font = size // 2, _font(size)
    image = Image.new("RGB", (width, _band_height(width)), BAND)
    draw = ImageDraw.Draw(image)

    def write(line: int, text: str, colour: Colour, left: float, right: float) -> float:
        """Write from ``left``, shortened to end before ``right``; return where the text ends."""
        text = _shorten(text, font, right - left)
        draw.text((left, (1.5 * line + 1.35) * size), text, colour, font, anchor="ls")
        return left + font.getlength(text)

    def write_right(line: int, text: str, colour: Colour) -> float:
        """Write to the right margin; return where what stands left of it has to end."""
        left = max(margin, width - margin - font.getlength(text))
        write(line, text, colour, left, width - margin)
        return left - size

    end = write_right(0, caption.count or f"t = {t} / {caption.n_decisions}", TEXT)
    write(0, caption.label, TEXT, write(0, "true label: ", FAINT, margin, end), end)
    end = write_right(1, "" if caption.gmacs is None else f"{caption.gmacs:.3g} GMACs", TEXT)
    sureness = f"confidence {caption.confidences[-1]:.3f}  " if t else "no decision yet  "
    left = write(1, sureness, TEXT if t else FAINT, margin, end)
    if caption.correct is not None:
        verdict = ("correct", GREEN) if caption.correct else ("wrong", RED)
        write(1, *verdict, left, end)
    if t:
        write_right(2, *(("looked", GREEN) if attended else (caption.unseen, GREY)))

    # A slot per decision, filled up to its confidence; the present one is bright.
    room = int(width - 2 * margin - font.getlength("skipped") - size)
    top, bottom = int(3.35 * size), int(4.5 * size)
    for i in range(caption.n_decisions):
        x, next_x = (margin + k * room // caption.n_decisions for k in (i, i + 1))
        last_x = max(x, next_x - (3 if next_x - x > 8 else 1 + (next_x - x > 2)))
        draw.rectangle((x, top, last_x, bottom), SLOT)
        share = min(1.0, max(0.0, caption.confidences[i])) if i < t else 0.0
        if filled := round(share * (bottom + 1 - top)):
            colour = TEXT if i == t - 1 else FAINT
            draw.rectangle((x, bottom + 1 - filled, last_x, bottom), colour)
    return np.asarray(image)


def _shorten(text: str, font: Font, room_px: float) -> str:
    """Return a text on one line, cut to end in an ellipsis where it is too wide."""
    text = " ".join(text.splitlines()).replace("\t", " ")
    if font.getlength(text) <= room_px:
        return text
    kept = bisect_right(range(len(text)), room_px, key=lambda n: font.getlength(text[:n] + "…"))
    return text[: kept - 1] + "…" if kept else ""


@lru_cache(maxsize=8)
def _font(size_px: int) -> Font:
    from matplotlib import get_data_path

    # matplotlib's: it has Latin, Greek and Cyrillic letters, where Pillow's own has plain ones.
    return ImageFont.truetype(f"{get_data_path()}/fonts/ttf/DejaVuSans.ttf", size_px)
