"""Lists of videos: what to read, with which label, in which split."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd

from ..recognizer import FocusgymError

VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm")


class VideoListError(FocusgymError):
    """A list of videos cannot be used; the message names every problem found."""


def read_videos(root: str | os.PathLike[str]) -> tuple[pd.DataFrame, list[str]]:
    """Read the list of a user's own videos.

    Either ``root`` holds ``train.txt`` and ``val.txt`` with a line ``path frames label`` for each
    video (the path may contain spaces, and is relative to ``root`` or to ``root/videos``; class
    names are the lines of ``classes.txt``, where it exists), or one folder per class. With lists,
    ``val.txt`` becomes the test split, and the last fifth of each class in ``train.txt`` the
    validation split, so that nothing is selected on what is reported. With folders, each class is
    divided 60 / 20 / 20 in the order of names.

    Args:
        root: The folder.

    Returns:
        The videos, one row each: ``path`` (absolute), ``label``, ``split``; and the class names.

    Raises:
        VideoListError: If ``root`` is not a folder, if it holds no list and no class folder, or if
            anything in them is wrong; all problems at once, with line numbers.
    """
    root = Path(root).resolve()
    if not root.is_dir():
        raise VideoListError(f"{root} is not a folder: give the folder that holds your videos")
    lists = [root / "train.txt", root / "val.txt"]
    present = [path for path in lists if path.exists()]
    if len(present) == 1:
        missing = next(path for path in lists if path not in present)
        raise VideoListError(
            f"{present[0]} is there, but {missing.name} is not: give both, or neither for one "
            "folder per class"
        )
    videos, classes = _from_lists(root) if present else _from_folders(root)
    if len(classes) < 2:
        raise VideoListError(f"{root} has {len(classes)} class; recognition needs at least 2")
    shares = ("val",) if present else ("val", "test")
    return _divide(videos, classes, shares), classes


def _from_lists(root: Path) -> tuple[pd.DataFrame, list[str]]:
    rows: list[tuple[str, int, str]] = []
    problems: list[str] = []
    first_seen: dict[Path, str] = {}
    for name, split in (("train.txt", "train"), ("val.txt", "test")):
        for number, line in enumerate(_lines(root / name), 1):
            if not line.strip():
                continue
            where = f"{name}:{number}"
            fields = line.rsplit(maxsplit=2)
            if len(fields) != 3 or not (fields[1].isdecimal() and fields[2].isdecimal()):
                problems.append(f"{where}: expected 'path frames label'; got {line!r}")
                continue
            candidates = (root / fields[0], root / "videos" / fields[0])
            path = next((path for path in candidates if path.is_file()), None)
            if path is None:
                problems.append(f"{where}: no such video: {candidates[0]} or {candidates[1]}")
            elif path.resolve() in first_seen:
                first = first_seen[path.resolve()]
                problems.append(f"{where}: {fields[0]} is listed already at {first}")
            else:
                first_seen[path.resolve()] = where
                rows.append((str(path), int(fields[2]), split))
    if not problems and not any(split == "test" for _, _, split in rows):
        problems.append("val.txt: no videos: it becomes the test split, and needs some")
    n_classes = 1 + max((label for _, label, _ in rows), default=-1)
    classes = [str(label) for label in range(n_classes)]
    if (root / "classes.txt").exists():
        classes = [line.strip() for line in _lines(root / "classes.txt") if line.strip()]
        if n_classes > len(classes):
            problems.append(
                f"labels go up to {n_classes - 1}, but classes.txt names {len(classes)} classes"
            )
    _refuse(problems)
    return pd.DataFrame(rows, columns=["path", "label", "split"]), classes


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise VideoListError(f"{path} is not UTF-8 text ({error}): save it as UTF-8") from error


def _from_folders(root: Path) -> tuple[pd.DataFrame, list[str]]:
    rows = [
        (str(path), folder.name)
        for folder in sorted(root.iterdir())
        if folder.is_dir()
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in VIDEO_SUFFIXES
    ]
    if not rows:
        raise VideoListError(
            f"{root} holds neither train.txt and val.txt nor a folder per class with videos "
            f"({', '.join(VIDEO_SUFFIXES)})"
        )
    classes = sorted({name for _, name in rows})
    videos = pd.DataFrame(rows, columns=["path", "class"])
    videos["label"] = videos.pop("class").map(classes.index)
    return videos.assign(split="train"), classes


def _divide(videos: pd.DataFrame, classes: list[str], shares: tuple[str, ...]) -> pd.DataFrame:
    """Give the last fifths of each class that is not in ``test`` to the shares, the rest to train.

    Runs of the list, not random videos: neighbours in a list often come from one recording, and
    would tie what is selected on to what is trained on.
    """
    splits, labels = videos["split"].to_numpy(dtype=object), videos["label"].to_numpy()
    problems = []
    for label in np.unique(labels):
        rows = np.flatnonzero((labels == label) & (splits != "test"))
        held_out = max(1, len(rows) // 5)
        if len(rows) <= len(shares):
            problems.append(
                f"class {classes[label]} has {len(rows)} videos to divide into train and "
                f"{' and '.join(shares)}: it needs at least {len(shares) + 1}"
            )
        for share in shares:
            splits[rows[-held_out:]] = share
            rows = rows[:-held_out]
    _refuse(problems)
    return videos.assign(split=splits)


def _refuse(problems: list[str]) -> None:
    if problems:
        shown = "\n".join(f"  {problem}" for problem in problems[:50])
        more = f"\n  and {len(problems) - 50} more" if len(problems) > 50 else ""
        raise VideoListError(f"{len(problems)} problem(s) in the list of videos:\n{shown}{more}")
