"""The embedded data set ``digit_pairs``: two digits, one after the other; their order is the class.

Each video is a real H.264 file. At one place of a cluttered frame a tinted scanned digit is shown
in about the first half of the frames, and another one in about the second half; the label is the
ordered pair. A pair and its reverse are equally common and look alike but for the order, so that a
network that does not see the order of frames tells the pair and guesses between the two: it is
right in 50 % of the videos at most. Both digits have the same tint, which shows where they are and
not which, and one location serves the whole video.
"""

from __future__ import annotations

import os
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...recognizer import Purpose, generator
from .digit_config import DRIFT_PX, DigitPairsConfig
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

_MOST_FRAMES = 3  # by which the change-over moves, and which are empty at each end
_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def pair_of(label: int, n_digits: int) -> tuple[int, int]:
    """Return the two digits (a, b) of a class: a * (n_digits - 1) + (b if b < a else b - 1)."""
    first, second = divmod(label, n_digits - 1)
    return first, second if second < first else second + 1


def pair_names(n_digits: int) -> list[str]:
    """Return the names of the C classes, such as ``three then one``.

    In words: a line that begins with a figure could be taken for a class's number and name.
    """
    pairs = (pair_of(label, n_digits) for label in range(n_digits * (n_digits - 1)))
    return [f"{_WORDS[first]} then {_WORDS[second]}" for first, second in pairs]


def render_pair(config: DigitPairsConfig, split: str, index: int) -> DigitVideo:
    """Render video ``index`` of a split; a function of (config, split, index) alone.

    Of videos 0 to C - 1 each has another class, and so on in blocks of C.

    Raises:
        ValueError: If the split is unknown.
    """
    images, labels = load_scans()
    scans = scans_of(split, config.seed)
    key = config.seed, SPLITS.index(split)
    block, place = divmod(index, config.n_classes)
    order = generator(Purpose.DIGIT_PAIR_CLASSES, *key, block).permutation(config.n_classes)
    label = int(order[place])
    rng = generator(Purpose.DIGIT_PAIR_VIDEO, *key, index)

    first, second = (
        resize(images[rng.choice(scans[labels[scans] == digit])], config.digit_px)
        for digit in pair_of(label, config.n_digits)
    )
    tint = draw_tint(rng)
    background = draw_background(rng, config, scans)
    nearest = (config.digit_px + DRIFT_PX) / 2  # to the frame's edge
    center = rng.uniform(nearest, config.frame_px - nearest, 2)
    centers = center + drift(rng, config.n_frames, -DRIFT_PX / 2, DRIFT_PX / 2)
    begin, change, end = draw_times(rng, config.n_frames)
    glyphs = [
        (first if t < change else second) if begin <= t < end else None
        for t in range(config.n_frames)
    ]
    frames = film(rng, config, background, [Actor(glyphs, centers)], tint)
    visible: NDArray[np.bool_] = np.array([glyph is not None for glyph in glyphs])
    return DigitVideo(frames, label, centers, visible, config.digit_px)


def draw_times(rng: np.random.Generator, n_frames: int) -> tuple[int, int, int]:
    """Draw when the first digit appears, when the second replaces it, and when that one is gone.

    Each is shown in a third of the frames at least. Played backwards, every draw is as likely: how
    long a digit is shown does not tell whether it is the first.

    Returns:
        Frames (begin, change, end): the first digit is in ``[begin, change)``, the second in
        ``[change, end)``.
    """
    least = -(-n_frames // 3)
    earliest = max(least, n_frames // 2 - _MOST_FRAMES)
    change = int(rng.integers(earliest, n_frames - earliest, endpoint=True))
    shown = np.array([change, n_frames - change])
    empty = rng.integers(0, np.minimum(shown - least, _MOST_FRAMES), endpoint=True)
    return int(empty[0]), change, n_frames - int(empty[1])


def make_digit_pairs(config: DigitPairsConfig, root: str | os.PathLike[str]) -> pd.DataFrame:
    """Write the data set: files, a list, a table of boxes, names of classes (`write_folder`).

    Args:
        config: How many videos, and what they show.
        root: A folder that does not exist yet.

    Returns:
        The list of videos, one row each, as in ``videos.csv``: path, label, split.

    Raises:
        FileExistsError: If ``root`` exists.
    """
    return write_folder(config, partial(render_pair, config), root, pair_names(config.n_digits))
