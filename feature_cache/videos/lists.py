"""Lists of videos: what to read, with which labels, in which split."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ...recognizer import in_words
from ...recognizer.files.regular import read_limited
from ...recognizer.limits import MOST_TEXT_BYTES
from .class_names import parse_class_names
from .folders import walk_classes
from .list_formats import FORMATS, SPLITS, ListRow, from_1, parse_list
from .list_table import FROM_1, Listed, VideoListError, divide, resolve, some_in_each
from .paths import VIDEO_SUFFIXES, VideoFinder

TABLE = "videos.csv"  # of all splits, in a folder of videos


@dataclass(frozen=True)
class VideoList:
    """The videos of a data set.

    Attributes:
        videos: One row for each of the N videos, in the order of the lists (train, val, test).
            ``name``: as in the list, or relative to the folder of the classes. ``path``: absolute;
            of a missing video, where it was looked for first. ``label``: the first label.
            ``labels``: all of them, joined by ``;``. ``split``. ``start_s``, ``end_s``: the
            segment, NaN where it is not given. ``images``: template of the images' names, counted
            from 1; empty for a file. ``n_images``: how many there are, 1 for a file that is one
            image; 0 for a video file.
            ``missing``: why the video cannot be read; empty if it can.
        classes: Names of the C classes.
        notes: What a user should know of how the videos were found, a sentence each: such as what
            was passed over.
    """

    videos: pd.DataFrame
    classes: list[str]
    notes: tuple[str, ...] = ()


def read_lists(
    root: str | os.PathLike[str],
    lists: Mapping[str, str | os.PathLike[str]],
    format: str | None = None,
    classes: str | os.PathLike[str] | None = None,
    images: str | None = None,
    skip_missing: bool = False,
) -> VideoList:
    """Read the lists of a data set.

    The formats: ``activitynet`` (also FCVID), lines ``name,num_frames,label[,label2,label3]`` where
    -1 at the end pads; ``kinetics`` and ``something`` (also Jester), ``path num_frames label``, or
    in all lines ``path label``, with spaces in paths; ``csv``, a header
    ``path,label[,start_s,end_s][,split]``, several labels joined by ``;``, each an integer or the
    name of a class. A label that is an integer is the number of a class, from 0, or from 1 if
    ``classes`` numbers them so. ``num_frames`` counts extracted images, so it is not used for a
    video file.

    A name is looked for in ``root``, then in ``root/videos``: the file or folder itself, else with
    a suffix of ``VIDEO_SUFFIXES``. A folder holds numbered images; a file with a suffix of
    ``IMAGE_SUFFIXES`` is a video of one frame.

    With a train list and no val list, the last fifth of each class (by first label) in the train
    list becomes the val split, so that nothing is selected on what is reported.

    Args:
        root: The folder of the videos.
        lists: List files of some of the splits ``train``, ``val`` and ``test``.
        format: One of ``FORMATS``; None tells each list's by its look, whatever it is called.
        classes: File with the names of the C classes, one a line, or with their numbers
            (`parse_class_names`). None: they are ``0`` to the largest label, or the sorted names if
            no label in a ``csv`` is an integer.
        images: Template of the images' names, such as ``image_%05d.jpg``, counted from 1. None
            finds for each folder the one whose number 1 is there.
        skip_missing: Keep videos that are not there as rows with a reason in ``missing``.

    Returns:
        The videos and the names of the classes.

    Raises:
        VideoListError: If an argument or a file cannot be used, or if anything is wrong in the
            lists: lines that cannot be read, labels out of range, videos listed twice or (without
            ``skip_missing``) missing; all problems at once, with line numbers.

    Source: the lists of the released AdaFocus code. It replaces a missing video by a random one;
    here that is an error or a gap, never another video.
    """
    root = _folder(root)
    if format is not None and format not in FORMATS:
        raise VideoListError(f"format must be one of {', '.join(FORMATS)}; got {format!r}")
    if not lists or set(lists) - set(SPLITS):
        received = ", ".join(lists) or "none"
        raise VideoListError(
            f"lists must name files for some of {', '.join(SPLITS)}; got {received}"
        )
    try:
        finder = VideoFinder(root, images)
    except ValueError as error:
        raise VideoListError(str(error)) from error
    named, problems, notes, first = None, list[str](), list[str](), 0
    if classes is not None:
        named, problems, notes, first = _class_names(Path(classes), root)
    listed = [
        _listed(Path(lists[split]), root, split, format) for split in SPLITS if split in lists
    ]
    table, names = resolve(root, listed, named, problems, finder, skip_missing, first)
    if not first and from_1({row.labels for one in listed for row in one.rows}, named):
        notes.append(FROM_1)
    if "train" in lists and "val" not in {*table["split"]}:
        table = divide(table, names, ("val",))
    return VideoList(some_in_each(table), names, tuple(notes))


def read_videos(root: str | os.PathLike[str], skip_missing: bool = False) -> VideoList:
    """Read a folder of videos that follows our convention.

    ``root`` holds ``videos.csv`` in the format ``csv`` with a column ``split``, as the data of a
    quickstart; or ``train.txt`` and ``val.txt`` in the format ``kinetics``; or one folder per
    class. Class names are the lines of ``classes.txt``, where it exists. With the two lists,
    ``val.txt`` becomes the test split, and ``read_lists`` takes the val split from ``train.txt``.
    With folders, a video is a file with one of ``VIDEO_SUFFIXES`` or a folder of numbered images,
    linked folders are followed once, hidden files and folders are none, and each class is divided
    60 / 20 / 20 in the order of names; what is passed over stands in ``notes``.

    Args:
        root: The folder.
        skip_missing: Keep videos that are not there as rows with a reason in ``missing``.

    Returns:
        The videos and the names of the classes.

    Raises:
        VideoListError: If ``root`` is not a folder, if it holds no list and no class folder, or if
            anything in them is wrong; all problems at once, with line numbers.
    """
    root = _folder(root)
    names = root / "classes.txt"
    named = names if names.exists() else None
    if (root / TABLE).exists():
        rows, _ = parse_list(_text(root / TABLE), "csv")
        if rows and rows[0].split is None:
            raise VideoListError(
                f"{root / TABLE} has no column split, which tells train, val and test apart: add "
                "it, or give the table as a list: --train"
            )
        lists = {"train": root / TABLE}
        return read_lists(root, lists, "csv", classes=named, skip_missing=skip_missing)
    lists = {"train": root / "train.txt", "test": root / "val.txt"}
    present = [path for path in lists.values() if path.exists()]
    if len(present) == 1:
        absent = next(path for path in lists.values() if path not in present)
        raise VideoListError(
            f"{present[0]} is there, but {absent.name} is not: give both, or neither for one "
            "folder per class"
        )
    if present:
        return read_lists(root, lists, classes=named, skip_missing=skip_missing)
    finder = VideoFinder(root)
    rows, classes, notes = _from_folders(root, finder)
    table, _ = resolve(root, [Listed("", "train", rows)], classes, [], finder, skip_missing)
    table = some_in_each(divide(table, classes, ("val", "test")))
    return VideoList(table, classes, tuple(notes))


def _folder(root: str | os.PathLike[str]) -> Path:
    root = Path(root).resolve()
    if not root.is_dir():
        raise VideoListError(f"{root} is not a folder: give the folder that holds your videos")
    return root


def _text(path: Path) -> str:
    try:
        return read_limited(path, MOST_TEXT_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise VideoListError(
            f"{path} is not UTF-8 text (its byte {error.start + 1} is none): save it as UTF-8"
        ) from error
    except (OSError, ValueError) as error:
        raise VideoListError(f"cannot read the list {path}: {in_words(error)}") from error


def _shown(path: Path, root: Path) -> str:
    """Return the path as problems show it: relative to ``root`` where it lies below."""
    absolute = Path(os.path.abspath(path))
    return str(absolute.relative_to(root) if absolute.is_relative_to(root) else path)


def _listed(path: Path, root: Path, split: str, format: str | None) -> Listed:
    rows, problems = parse_list(_text(path), format)
    if not rows and not problems:
        becomes = "it becomes" if path.stem != split else "it is"
        problems = [(0, f"no videos: {becomes} the {split} split, and needs some")]
    return Listed(_shown(path, root), split, rows, problems)


def _class_names(path: Path, root: Path) -> tuple[list[str], list[str], list[str], int]:
    """Return the names, problems, notes and first number of a file that names the classes."""
    file, content = _shown(path, root), parse_class_names(_text(path))
    problems = [
        f"{file}:{line}: {text}" if line else f"{file}: {text}" for line, text in content.problems
    ]
    if len(content.names) < 2:
        raise VideoListError(
            f"{file} names {len(content.names)} class; recognition needs at least 2"
        )
    return content.names, problems, [f"{file}: {note}" for note in content.notes], content.first


def _from_folders(root: Path, finder: VideoFinder) -> tuple[list[ListRow], list[str], list[str]]:
    folders = walk_classes(root, finder)
    if not folders.videos:
        raise VideoListError(
            f"{root} holds neither train.txt and val.txt nor a folder per class with videos "
            f"({', '.join(VIDEO_SUFFIXES[:5])} and the like, or folders of numbered images)"
        )
    rows = [
        ListRow(0, Path(path).as_posix(), str(label))
        for label, paths in enumerate(folders.videos.values())
        for path in paths
    ]
    return rows, list(folders.videos), folders.notes()
