"""The folder of an embedded data set: video files, their list, the true boxes, the classes."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from ...recognizer.files.atomic import remove_unfinished, whole_folder
from .decoders import contained
from .digit_config import DigitSceneConfig
from .digit_parts import SPLITS, DigitVideo, box_corners
from .mp4 import write_mp4


def write_folder(
    config: DigitSceneConfig,
    render: Callable[[str, int], DigitVideo],
    root: str | os.PathLike[str],
    classes: Sequence[str] = (),
) -> pd.DataFrame:
    """Write a data set as H.264 files, a list of videos and a table of boxes.

    ``root`` receives ``videos/SPLIT/NNNNN.mp4``, ``videos.csv`` (path, label, split) and
    ``boxes.csv`` (path, frame, left, top, right, bottom in pixels, visible): the true box is
    given for every frame, hidden or not. The folder appears only when it is complete; an error
    leaves nothing.

    Args:
        config: What is made, and how many videos.
        render: Gives video ``index`` of a split.
        root: A folder that does not exist yet.
        classes: Names of the C classes, a line each in ``classes.txt``; without any there is no
            such file.

    Returns:
        The list of videos, one row each, as in ``videos.csv``.

    Raises:
        FileExistsError: If ``root`` exists.
        OSError: If it cannot be written.
    """
    root = Path(root)
    if root.exists():
        raise FileExistsError(f"{root} exists: nothing was touched; write the data set elsewhere")
    remove_unfinished(root, ("videos", "videos.csv", "boxes.csv", "classes.txt"))
    with whole_folder(root, lambda e: OSError(e.errno, e.strerror, str(root))) as partial:
        for split in SPLITS:
            (partial / "videos" / split).mkdir(parents=True)
        videos, boxes = _write_videos(config, render, partial)
        videos.to_csv(partial / "videos.csv", index=False)
        boxes.to_csv(partial / "boxes.csv", index=False)
        if classes:
            (partial / "classes.txt").write_text("".join(f"{name}\n" for name in classes))
    return videos


def _write_videos(
    config: DigitSceneConfig, render: Callable[[str, int], DigitVideo], folder: Path
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Write the video files; return their list and the boxes of all frames."""

    def write(job: tuple[str, int]) -> tuple[dict[str, object], pd.DataFrame]:
        path = str(folder / _path(*job))
        return contained(path, _write_video, config, render, folder, *job)

    counts = dict(zip(SPLITS, (config.n_train, config.n_val, config.n_test), strict=True))
    jobs = [(split, index) for split in SPLITS for index in range(counts[split])]
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # each waits for a process of its own
        try:
            bar = tqdm(pool.map(write, jobs), f"{config.name} videos", len(jobs), unit="video")
            written = list(bar)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # those that are not begun
            raise
    return pd.DataFrame([row for row, _ in written]), pd.concat([boxes for _, boxes in written])


def _write_video(
    config: DigitSceneConfig,
    render: Callable[[str, int], DigitVideo],
    folder: Path,
    split: str,
    index: int,
) -> tuple[dict[str, object], pd.DataFrame]:
    """Write a video file; return its row in the list and the boxes of its frames."""
    video, path = render(split, index), _path(split, index)
    write_mp4(video.frames, folder / path)
    corners = box_corners(video.centers_px, video.digit_px)
    boxes = pd.DataFrame({"path": path, "frame": np.arange(len(video.frames))})
    boxes[["left", "top"]] = corners
    boxes[["right", "bottom"]] = corners + video.digit_px
    boxes["visible"] = video.visible
    return {"path": path, "label": video.label, "split": split}, boxes


def _path(split: str, index: int) -> str:
    return f"videos/{split}/{index:05d}.mp4"
