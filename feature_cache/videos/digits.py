"""The embedded data set ``digits``: real video files with one small digit to find and read.

Each video is a real H.264 file. One of scikit-learn's scanned digits, tinted, drifts smoothly
through a frame that is cluttered with grey fragments of other scans, and is visible in a part of
the frames only. On the down-sampled glance the tint shows where the digit is, while its strokes
are gone: the label has to be read in a full-resolution patch. The true box of every frame is
stored beside the videos.
"""

from __future__ import annotations

import os
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...recognizer import Purpose, generator
from .digit_config import DigitsConfig
from .digit_folder import write_folder
from .digit_parts import (
    SPLITS,
    Actor,
    DigitVideo,
    draw_background,
    draw_tint,
    drift,
    film,
    load_scans,
    resize,
    scans_of,
)


def render(config: DigitsConfig, split: str, index: int) -> DigitVideo:
    """Render video ``index`` of a split; a function of (config, split, index) alone.

    Raises:
        ValueError: If the split is unknown.
    """
    images, labels = load_scans()
    scans = scans_of(split, config.seed)
    rng = generator(Purpose.DIGIT_VIDEO, config.seed, SPLITS.index(split), index)
    side, digit, n_frames = config.frame_px, draw_side(config, split, index), config.n_frames

    scan = scans[index % len(scans)]
    glyph = resize(images[scan], digit)
    tint = draw_tint(rng)
    background = draw_background(rng, config, scans)
    centers = drift(rng, n_frames, digit / 2, side - digit / 2)
    visible = seen_at_most(visibility(rng, n_frames, config.visible_share), config)
    glyphs = [glyph if is_visible else None for is_visible in visible]
    digit_alone = Actor(glyphs, centers)
    actors = [*draw_decoys(config, split, index), digit_alone]
    frames = film(rng, config, background, actors, tint)
    return DigitVideo(frames, int(labels[scan]), centers, visible, digit)


def draw_side(config: DigitsConfig, split: str, index: int) -> int:
    """Draw the side of a video's digit, pixels, from a stream of its own; see `DigitsConfig`."""
    if config.largest_digit_px is None:
        return config.digit_px
    rng = generator(Purpose.DIGIT_SIDE, config.seed, SPLITS.index(split), index)
    return round(float(np.exp(rng.uniform(*np.log([config.digit_px, config.largest_digit_px])))))


def draw_decoys(config: DigitsConfig, split: str, index: int) -> list[Actor]:
    """Draw what looks like the digit of a video from afar; see `DigitsConfig`.

    From a stream of their own: the rest of a video does not depend on how many there are.
    """
    rng = generator(Purpose.DIGIT_DECOYS, config.seed, SPLITS.index(split), index)
    images, scans = load_scans()[0], scans_of(split, config.seed)
    digit = draw_side(config, split, index)
    actors = []
    for _ in range(config.decoys):
        glyph = resize(exchange_quarters(rng, images[rng.choice(scans)]), digit)
        centers = drift(rng, config.n_frames, digit / 2, config.frame_px - digit / 2)
        visible = visibility(rng, config.n_frames, config.visible_share)
        visible = seen_at_most(visible, config)
        actors.append(Actor([glyph if shown else None for shown in visible], centers))
    return actors


def exchange_quarters(rng: np.random.Generator, image: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return an image ``(8, 8)`` none of whose quarters is where it was."""
    shift = rng.integers(1, 4)  # of the four quarters in a ring
    rows = [np.hsplit(half, 2) for half in np.vsplit(image, 2)]
    ring = [rows[0][0], rows[0][1], rows[1][1], rows[1][0]]
    ring = [ring[(i + shift) % 4] for i in range(4)]
    return np.block([[ring[0], ring[1]], [ring[3], ring[2]]])


def make_digits(config: DigitsConfig, root: str | os.PathLike[str]) -> pd.DataFrame:
    """Write the data set as H.264 files, a list of videos and a table of boxes (`write_folder`).

    Args:
        config: How many videos, and what they show.
        root: A folder that does not exist yet.

    Returns:
        The list of videos, one row each, as in ``videos.csv``: path, label, split.

    Raises:
        FileExistsError: If ``root`` exists.
    """
    return write_folder(config, partial(render, config), root)


def seen_at_most(visible: NDArray[np.bool_], config: DigitsConfig) -> NDArray[np.bool_]:
    """Return ``(F,)`` without the last visible frames beyond the most that may be."""
    most = max(1, int(config.most_visible_share * config.n_frames))
    fewer = visible.copy()
    fewer[np.flatnonzero(visible)[most:]] = False
    return fewer


def visibility(rng: np.random.Generator, n_frames: int, share: float) -> NDArray[np.bool_]:
    """Return ``(n_frames,)`` bool from a two-state chain, visible for three frames on average.

    At least one frame is visible. With ``share`` = 1 all are.
    """
    leave = 1.0 / 3.0 if share < 1.0 else 0.0
    enter = leave * share / (1.0 - share) if share < 1.0 else 1.0
    visible = np.empty(n_frames, dtype=bool)
    state = rng.random() < share
    for t in range(n_frames):
        visible[t] = state
        state = rng.random() >= leave if state else rng.random() < enter
    if not visible.any():
        visible[rng.integers(n_frames)] = True
    return visible
