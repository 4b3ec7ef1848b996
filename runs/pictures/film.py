"""Episodes as films, and side by side as a strip of pictures."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import get_data_path
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ...feature_cache.videos.mp4 import write_mp4
from ..options.console import plainly
from ..replays.contract import Episode, certainties, predictions

FPS = 2
_TITLE_PX, _GAP_PX = 28, 8  # even, as H.264 wants the sides
_DARK, _LIGHT = (24, 24, 28), (236, 236, 240)
_GREEN = "#12b84f"
_DIMMED = 0.3
_PITCH_INCH, _LABEL_INCH, _LEGEND_INCH = 1.3, 1.4, 0.5


def write_film(path: Path, episodes: Sequence[Episode], names: Sequence[str]) -> None:
    """Write an H.264 film of a video, two decisions per second, with policies side by side.

    Args:
        path: The ``.mp4`` file.
        episodes: The video's, one per policy.
        names: Of the policies, written above the pictures.

    Raises:
        VideoError: If the video is gone or cannot be read; the message names it.
    """
    parts: list[NDArray[np.uint8]] = []
    for episode, name in zip(episodes, names, strict=True):
        pictures = episode.pictures()
        n, height, width, _ = pictures.shape
        titled = np.empty((n, _TITLE_PX + height, width, 3), dtype=np.uint8)
        titled[:, :_TITLE_PX] = _title(name, width)
        titled[:, _TITLE_PX:] = pictures
        gap = np.full((n, _TITLE_PX + height, _GAP_PX, 3), _DARK, dtype=np.uint8)
        parts += [gap, titled] if parts else [titled]
    write_mp4(np.concatenate(parts, axis=2), path, FPS)


def _title(name: str, width: int) -> NDArray[np.uint8]:
    font = ImageFont.truetype(f"{get_data_path()}/fonts/ttf/DejaVuSans-Bold.ttf", 15)
    image = Image.new("RGB", (width, _TITLE_PX), _DARK)
    while name and font.getlength(name) > width - 2 * _GAP_PX:
        name = name[:-1]
    ImageDraw.Draw(image).text((_GAP_PX, _TITLE_PX - 8), name, _LIGHT, font, anchor="ls")
    return np.asarray(image)


@plainly
def strip(
    frames: Sequence[Tensor],
    episodes: Sequence[Episode],
    classes: Sequence[str],
    box: str = "where f_L looked",
) -> Figure:
    """Return the strip of pictures: a row per video, its frames, and where it was looked.

    Chosen boxes are green; frames that were not looked at are dimmed. Below a frame stand the class
    that is predicted after it and its probability, green where it is right.

    Args:
        frames: ``(T, 3, S, S)`` uint8 of each video, those that the decisions are about.
        episodes: Of one policy in these videos, at least one.
        classes: Names of the classes.
        box: What a green box says, in words.

    Source: AdaFocus (arXiv:2105.03245) Figure 7; classes and probabilities are ours.
    """
    steps, _, side, _ = frames[0].shape
    pitch, row = 1.06 * side, 1.4 * side  # from one frame, and from one video, to the next
    inch = _PITCH_INCH / pitch
    width, height = _LABEL_INCH + _PITCH_INCH * steps, _LEGEND_INCH + inch * row * len(frames)
    figure = Figure(figsize=(width, height))
    figure.subplots_adjust(_LABEL_INCH / width, 0, 1, 1 - _LEGEND_INCH / height, hspace=0)
    rows = figure.subplots(len(frames), 1, squeeze=False)[:, 0]
    for axes, pixels, episode in zip(rows, frames, episodes, strict=True):
        predicted, sure = predictions(episode), certainties(episode)
        for t in range(steps):
            left, attended = t * pitch, bool(episode.attended[t])
            axes.imshow(
                pixels[t].permute(1, 2, 0).numpy(),
                extent=(left, left + side, side, 0),
                alpha=1.0 if attended else _DIMMED,
            )
            if attended:
                x, y, right, bottom = episode.boxes_px[t].tolist()
                edge = Rectangle((left + x, y), right - x, bottom - y, fill=False)
                axes.add_patch(edge)
                edge.set(edgecolor=_GREEN, linewidth=2)
            else:
                caption = episode.unseen[t]
                axes.text(left + side / 2, side / 2, caption, ha="center", va="center")
            caption = f"{_short(classes[predicted[t]])}\n{100 * sure[t]:.0f} %"
            colour = _GREEN if episode.correct[t] else "0.35"
            place = (left + side / 2, side * 1.04)
            axes.text(*place, caption, ha="center", va="top", color=colour, size=9, clip_on=True)
        axes.set(xlim=(0, pitch * steps), ylim=(row, 0), aspect="equal")
        axes.set_axis_off()
        label = textwrap.fill(episode.label, 14, max_lines=4, placeholder="…")
        axes.text(-0.06 * side, side / 2, label, ha="right", va="center", size=10)
    caption = f"green box: {box}   dimmed: not looked at   below: predicted so far"
    figure.text(0.5, 1 - 0.15 / height, caption, ha="center", va="top", size=9)
    return figure


def _short(name: str) -> str:
    return name if len(name) <= 14 else name[:13] + "…"
