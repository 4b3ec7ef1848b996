"""What the embedded data sets are rendered from: scans, clutter, smooth paths, tinted strokes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...recognizer import Purpose, generator
from .digit_config import DigitSceneConfig

SPLITS = ("train", "val", "test")
MARGIN_PX = 8  # by which the canvas of clutter is larger than the frame, on each side


@dataclass(frozen=True)
class DigitVideo:
    """One rendered video and its truth.

    Attributes:
        frames: ``(F, S, S, 3)`` uint8.
        label: Index of the class; of the data set ``digits`` the digit, 0 to 9.
        centers_px: ``(F, 2)`` float64, centre of the digit as (x, y), pixels, hidden or not.
        visible: ``(F,)`` bool, whether a digit is visible.
        digit_px: Side of the digit's box, pixels.
    """

    frames: NDArray[np.uint8]
    label: int
    centers_px: NDArray[np.float64]
    visible: NDArray[np.bool_]
    digit_px: int


class Actor(NamedTuple):
    """What moves through a video.

    Attributes:
        glyphs: Of each of F frames what is shown, ``(digit_px, digit_px)`` in [0, 1]; None where it
            is hidden.
        centers_px: ``(F, 2)``, its centre as (x, y), pixels.
    """

    glyphs: Sequence[NDArray[np.float64] | None]
    centers_px: NDArray[np.float64]


@cache
def load_scans() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return scikit-learn's digits: images ``(1797, 8, 8)`` in [0, 1] and labels ``(1797,)``."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return images.reshape(-1, 8, 8) / 16.0, labels


@cache
def split_scans(seed: int) -> dict[str, NDArray[np.int64]]:
    """Return the scans (rows of `load_scans`) of each split: disjoint, 60 / 10 / 30 percent."""
    n = len(load_scans()[1])
    order = generator(Purpose.DIGIT_SCANS, seed).permutation(n)
    train, val = int(0.6 * n), int(0.7 * n)
    return {"train": order[:train], "val": order[train:val], "test": order[val:]}


def scans_of(split: str, seed: int) -> NDArray[np.int64]:
    """Return the scans of one split, as `split_scans`.

    Raises:
        ValueError: If the split is unknown.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}; got {split!r}")
    return split_scans(seed)[split]


def draw_tint(rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw a saturated colour ``(3,)``: one channel full, one in between, one nearly empty."""
    return rng.permutation(np.array([1.0, rng.uniform(0.4, 0.7), rng.uniform(0.0, 0.2)]))


def draw_background(
    rng: np.random.Generator, config: DigitSceneConfig, scans: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Draw what is behind the digits: a camera pans over a grey canvas of fragments of scans.

    Args:
        rng: What is drawn from.
        config: Sizes and contrasts.
        scans: What fragments are cut out of: rows of `load_scans`.

    Returns:
        Brightness ``(F, S, S)`` in [0, 1].
    """
    images, side, fragment_px = load_scans()[0], config.frame_px, config.fragment_px
    canvas_px = side + 2 * MARGIN_PX
    canvas = rng.uniform(0.15, 0.3) + smooth_noise(rng, canvas_px) * 0.1
    for _ in range(config.clutter):
        fragment = images[rng.choice(scans)]
        y, x = rng.integers(0, 4, 2)
        fragment = resize(fragment[y : y + 5, x : x + 5], fragment_px)
        top, left = rng.integers(0, canvas_px - fragment_px, 2)
        window = canvas[top : top + fragment_px, left : left + fragment_px]
        window += config.clutter_contrast * rng.uniform(0.6, 1.0) * fragment
    pan = np.rint(drift(rng, config.n_frames, 0.0, 2.0 * MARGIN_PX)).astype(int)
    return np.stack([canvas[y : y + side, x : x + side] for x, y in pan])


def film(
    rng: np.random.Generator,
    config: DigitSceneConfig,
    background: NDArray[np.float64],
    actors: Sequence[Actor],
    tint: NDArray[np.float64],
) -> NDArray[np.uint8]:
    """Put tinted digits before a background, and add noise.

    Args:
        rng: What the noise is drawn from.
        config: Sizes and contrasts.
        background: Brightness ``(F, S, S)``.
        actors: What is put there, one before the other.
        tint: Colour ``(3,)``.

    Returns:
        The frames ``(F, S, S, 3)``.
    """
    frames = np.empty((*background.shape, 3), dtype=np.uint8)
    for t in range(len(frames)):
        frame = np.repeat(background[t, :, :, None], 3, axis=2)
        for actor in actors:
            glyph = actor.glyphs[t]
            if glyph is None:
                continue
            left, top = box_corners(actor.centers_px[t], len(glyph))
            window = frame[top : top + len(glyph), left : left + len(glyph)]
            # The strokes cover the clutter in the digit's colour; between them it shows through.
            alpha = glyph[..., None]
            window *= 1.0 - alpha
            window += alpha * (0.25 + config.contrast * tint)
        noise = config.noise * rng.standard_normal(frame.shape, dtype=np.float32)
        frame = frame * 255.0 + noise
        frames[t] = np.clip(np.rint(frame), 0, 255).astype(np.uint8)
    return frames


def box_corners(centers_px: NDArray[np.float64], digit_px: int) -> NDArray[np.int64]:
    """Return the left top corner (x, y) of each digit's box, ``(..., 2)``, pixels."""
    return np.rint(centers_px - digit_px / 2).astype(np.int64)


def resize(image: NDArray[np.float64], side_px: int) -> NDArray[np.float64]:
    """Resize a square image bilinearly to ``(side_px, side_px)``, pixel centres aligned."""
    n = len(image)
    position = np.clip((np.arange(side_px) + 0.5) * n / side_px - 0.5, 0, n - 1)
    low = np.minimum(position.astype(int), n - 2)
    weights = np.zeros((side_px, n))
    weights[np.arange(side_px), low] = 1.0 - (position - low)
    weights[np.arange(side_px), low + 1] = position - low
    resized: NDArray[np.float64] = weights @ image @ weights.T
    return resized


def smooth_noise(rng: np.random.Generator, side_px: int) -> NDArray[np.float64]:
    """Return a smooth random field ``(side_px, side_px)`` in [0, 1]."""
    return resize(rng.uniform(0.0, 1.0, (8, 8)), side_px)


def drift(rng: np.random.Generator, n_frames: int, low: float, high: float) -> NDArray[np.float64]:
    """Return a smooth path ``(n_frames, 2)`` through three random points of ``[low, high]²``."""
    knots = rng.uniform(low, high, (3, 2))
    position = np.linspace(0.0, 2.0, n_frames)
    segment = np.minimum(position.astype(int), 1)
    ease = (0.5 - 0.5 * np.cos(np.pi * (position - segment)))[:, None]
    path: NDArray[np.float64] = (1.0 - ease) * knots[segment] + ease * knots[segment + 1]
    return path
