"""The embedded data set ``digits``: real video files with one small digit to find and read.

Each video is a real H.264 file. One of scikit-learn's scanned digits, tinted, drifts smoothly
through a frame that is cluttered with grey fragments of other scans, and is visible in a part of
the frames only. On the down-sampled glance the tint shows where the digit is, while its strokes
are gone: the label has to be read in a full-resolution patch. The true box of every frame is
stored beside the videos.
"""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import av
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from ...recognizer import Purpose, generator

SPLITS = ("train", "val", "test")
N_CLASSES = 10


@dataclass(frozen=True)
class DigitsConfig:
    """What the data set is made of; the same config gives the same pixels.

    Attributes:
        n_train: Training videos.
        n_val: Validation videos.
        n_test: Test videos.
        n_frames: Frames of a video.
        frame_px: Frame side S, pixels.
        digit_px: Side of the digit's box, pixels.
        clutter: Grey fragments per video.
        fragment_px: Side of a fragment, pixels.
        contrast: Brightness of the digit's strokes over the background, in [0, 1].
        clutter_contrast: The same of the fragments.
        noise: Standard deviation of the pixel noise, in grey levels of 255.
        visible_share: Expected share of frames in which the digit is visible.
        most_visible_share: Largest share of a video's frames in which it is; one frame at least.
        seed: Seed of every draw.

    Raises:
        ValueError: If a size or a share is out of range.
    """

    n_train: int = 2400
    n_val: int = 300
    n_test: int = 1000
    n_frames: int = 12
    frame_px: int = 64
    digit_px: int = 20
    clutter: int = 8
    fragment_px: int = 12
    contrast: float = 0.6
    clutter_contrast: float = 0.2
    noise: float = 10.0
    visible_share: float = 0.7
    most_visible_share: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the sizes."""
        if min(self.n_train, self.n_val, self.n_test, self.n_frames) < 1:
            raise ValueError(
                "digits needs at least one video per split and one frame per video; got "
                f"{self.n_train}/{self.n_val}/{self.n_test} videos of {self.n_frames} frames"
            )
        if not 0 < self.digit_px <= self.frame_px // 2 or self.frame_px % 2:
            raise ValueError(
                "digits needs an even frame_px (H.264) and a digit_px of at most half of it; got "
                f"frame_px={self.frame_px}, digit_px={self.digit_px}"
            )
        for name in ("visible_share", "most_visible_share"):
            if not 0.0 < getattr(self, name) <= 1.0:
                raise ValueError(f"{name} must be in (0, 1]; got {getattr(self, name)}")


@dataclass(frozen=True)
class DigitVideo:
    """One rendered video and its truth.

    Attributes:
        frames: ``(F, S, S, 3)`` uint8.
        label: The digit, 0 to 9.
        centers_px: ``(F, 2)`` float64, centre of the digit as (x, y), pixels, hidden or not.
        visible: ``(F,)`` bool.
    """

    frames: NDArray[np.uint8]
    label: int
    centers_px: NDArray[np.float64]
    visible: NDArray[np.bool_]


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


def render(config: DigitsConfig, split: str, index: int) -> DigitVideo:
    """Render video ``index`` of a split; a function of (config, split, index) alone.

    Raises:
        ValueError: If the split is unknown.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}; got {split!r}")
    images, labels = load_scans()
    scans = split_scans(config.seed)[split]
    rng = generator(Purpose.DIGIT_VIDEO, config.seed, SPLITS.index(split), index)
    side, digit, n_frames = config.frame_px, config.digit_px, config.n_frames

    scan = scans[index % len(scans)]
    glyph = resize(images[scan], digit)
    tint = rng.permutation(np.array([1.0, rng.uniform(0.4, 0.7), rng.uniform(0.0, 0.2)]))

    # A canvas of clutter, larger than the frame: the camera pans over it.
    margin = 8
    canvas = rng.uniform(0.15, 0.3) + smooth_noise(rng, side + 2 * margin) * 0.1
    for _ in range(config.clutter):
        fragment = images[rng.choice(scans)]
        y, x = rng.integers(0, 4, 2)
        fragment = resize(fragment[y : y + 5, x : x + 5], config.fragment_px)
        top, left = rng.integers(0, side + 2 * margin - config.fragment_px, 2)
        window = canvas[top : top + config.fragment_px, left : left + config.fragment_px]
        window += config.clutter_contrast * rng.uniform(0.6, 1.0) * fragment
    pan = drift(rng, n_frames, 0.0, 2.0 * margin)

    centers = drift(rng, n_frames, digit / 2, side - digit / 2)
    visible = visibility(rng, n_frames, config.visible_share)
    most = max(1, int(config.most_visible_share * n_frames))
    visible[np.flatnonzero(visible)[most:]] = False

    frames = np.empty((n_frames, side, side, 3), dtype=np.uint8)
    for t in range(n_frames):
        pan_x, pan_y = np.rint(pan[t]).astype(int)
        frame = np.repeat(canvas[pan_y : pan_y + side, pan_x : pan_x + side, None], 3, axis=2)
        if visible[t]:
            left, top = np.rint(centers[t] - digit / 2).astype(int)
            window = frame[top : top + digit, left : left + digit]
            # The strokes cover the clutter in the digit's colour; between them it shows through.
            alpha = glyph[..., None]
            window *= 1.0 - alpha
            window += alpha * (0.25 + config.contrast * tint)
        noise = config.noise * rng.standard_normal(frame.shape, dtype=np.float32)
        frame = frame * 255.0 + noise
        frames[t] = np.clip(np.rint(frame), 0, 255).astype(np.uint8)
    return DigitVideo(frames, int(labels[scan]), centers, visible)


def make_digits(config: DigitsConfig, root: str | os.PathLike[str]) -> pd.DataFrame:
    """Write the data set as H.264 files, a list of videos and a table of boxes.

    ``root`` receives ``videos/SPLIT/NNNNN.mp4``, ``videos.csv`` (path, label, split) and
    ``boxes.csv`` (path, frame, left, top, right, bottom in pixels, visible): the true box is
    given for every frame, hidden or not. The folder appears only when it is complete.

    Args:
        config: What to make.
        root: A folder that does not exist yet.

    Returns:
        The list of videos, one row each, as in ``videos.csv``.

    Raises:
        FileExistsError: If ``root`` exists.
    """
    root = Path(root)
    if root.exists():
        raise FileExistsError(f"{root} exists: nothing was touched; write the data set elsewhere")
    partial = root.with_name(root.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    counts = dict(zip(SPLITS, (config.n_train, config.n_val, config.n_test), strict=True))
    jobs = [(split, index) for split in SPLITS for index in range(counts[split])]
    for split in SPLITS:
        (partial / "videos" / split).mkdir(parents=True)

    def make(job: tuple[str, int]) -> tuple[dict[str, object], pd.DataFrame]:
        split, index = job
        video = render(config, split, index)
        path = f"videos/{split}/{index:05d}.mp4"
        write_mp4(video.frames, partial / path)
        corner = np.rint(video.centers_px - config.digit_px / 2).astype(int)
        boxes = pd.DataFrame({"path": path, "frame": np.arange(len(video.frames))})
        boxes[["left", "top"]] = corner
        boxes[["right", "bottom"]] = corner + config.digit_px
        boxes["visible"] = video.visible
        return {"path": path, "label": video.label, "split": split}, boxes

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # the encoder releases the GIL
        made = list(tqdm(pool.map(make, jobs), "digits videos", len(jobs), unit="video"))
    videos = pd.DataFrame([row for row, _ in made])
    videos.to_csv(partial / "videos.csv", index=False)
    pd.concat([boxes for _, boxes in made]).to_csv(partial / "boxes.csv", index=False)
    partial.rename(root)
    return videos


def write_mp4(frames: NDArray[np.uint8], path: str | os.PathLike[str], fps: int = 8) -> None:
    """Write frames ``(F, height, width, 3)`` uint8 as an H.264 file (even sides, CRF 18)."""
    # One thread: the bytes do not depend on the machine's cores.
    options = {"preset": "ultrafast", "crf": "18", "threads": "1"}
    with av.open(f"file:{os.path.abspath(path)}", "w") as container:
        stream = container.add_stream("libx264", rate=fps, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


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
