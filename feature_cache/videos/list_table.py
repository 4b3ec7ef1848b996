"""From the rows of lists to one table of videos, checked and divided into splits."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from ...recognizer import FocusgymError
from ...recognizer.limits import check_names
from .list_formats import ListRow, Problem, from_1, read_labels
from .paths import Location, VideoFinder

MOST_SHOWN = 50
FROM_1 = (
    "no video has label 0, so the labels seem to count from 1: then name the classes in a file "
    "(--classes, or classes.txt beside train.txt) with a number, from 1, and a name in each line; "
    "or take 1 off the labels"
)
COLUMNS = [
    *("name", "path", "label", "labels", "split"),
    *("start_s", "end_s", "images", "n_images", "missing"),
]


class VideoListError(FocusgymError):
    """A list of videos cannot be used; the message names every problem found."""


@dataclass
class Listed:
    """The rows of one list, and what is wrong with its lines; ``file`` is empty for folders."""

    file: str
    split: str
    rows: list[ListRow]
    problems: list[Problem] = field(default_factory=list)

    def where(self, line: int, name: str = "") -> str:
        """Return the place that a problem names: file and line, or the name of the video."""
        if not self.file:
            return name
        return f"{self.file}:{line}" if line else self.file


def resolve(
    root: Path,
    listed: list[Listed],
    classes: list[str] | None,
    problems: list[str],
    finder: VideoFinder,
    skip_missing: bool,
    first: int = 0,
) -> tuple[pd.DataFrame, list[str]]:
    """Find the videos of all lists and check every row.

    Args:
        root: The folder of the videos, for the message.
        listed: The lists, in the order of the table.
        classes: Names of the C classes; None where no file names them.
        problems: Problems that were noted before.
        finder: Finds the videos.
        skip_missing: Whether a missing video is a row with a reason, not a problem.
        first: What labels count from, 0 or 1.

    Returns:
        The table, and the names of the C classes.

    Raises:
        VideoListError: With all problems; or if there are fewer than two classes.
    """
    written = {row.labels for one in listed for row in one.rows}
    labels, wrong, names = read_labels(written, classes, first)
    first_seen: dict[tuple[str, float, float | None], str] = {}
    records: list[tuple[object, ...]] = []
    n_missing = 0
    for one in listed:
        of_lines = [(line, f"{one.where(line)}: {text}") for line, text in one.problems]
        for row in one.rows:
            location, where = finder.find(row.name, row.n_frames), one.where(row.line, row.name)
            segment = (location.identity, row.start_s or 0.0, row.end_s)
            texts = _wrong(row, location, wrong.get(row.labels), first_seen.get(segment))
            if location.missing and not skip_missing and segment not in first_seen:
                texts.append(location.missing)
                n_missing += 1
            first_seen.setdefault(segment, where)
            of_lines += [(row.line, f"{where}: {text}") for text in texts]
            if row.labels in labels:
                split = row.split or one.split
                records.append(_record(row, location, labels[row.labels], split))
        problems = problems + [text for _, text in sorted(of_lines, key=lambda problem: problem[0])]
    if wrong and not first and from_1(written, classes):
        problems = [*problems, FROM_1]
    refuse(problems, n_missing)
    try:
        check_names(names)
    except ValueError as error:
        raise VideoListError(f"{root}: {error}: give it a shorter name") from error
    if len(names) < 2:
        raise VideoListError(f"{root} has {len(names)} class; recognition needs at least 2")
    types = {"label": np.int64, "start_s": np.float64, "end_s": np.float64, "n_images": np.int64}
    return pd.DataFrame(records, columns=COLUMNS).astype(types), names


def _wrong(row: ListRow, location: Location, label: str | None, first: str | None) -> list[str]:
    """Return what is wrong with a row, given its label's problem and its first place."""
    texts = [label] if label else []
    if location.path != location.path.encode(errors="replace").decode():
        texts.append("the name of the file is not UTF-8: rename it")
    if location.n_images and (row.start_s is not None or row.end_s is not None):
        what = "a folder" if location.images else "an image"
        texts.append(f"start_s and end_s are for video files; {location.path} is {what}")
    if first:
        texts.append(f"{row.name} is listed already at {first}")
    return texts


def _record(
    row: ListRow, location: Location, labels: tuple[int, ...], split: str
) -> tuple[object, ...]:
    joined = ";".join(map(str, labels))
    segment = (row.start_s, row.end_s)
    file = (location.images, location.n_images, location.missing)
    return (row.name, location.path, labels[0], joined, split, *segment, *file)


def divide(videos: pd.DataFrame, classes: list[str], shares: tuple[str, ...]) -> pd.DataFrame:
    """Give the last fifths of each class in ``train`` to the shares; the rest stays.

    Runs of the list, not random videos: neighbours in a list often come from one recording, and
    would tie what is selected on to what is trained on. Missing videos count, so that the others
    do not change places when they turn up.
    """
    splits, labels = videos["split"].to_numpy(dtype=object), videos["label"].to_numpy()
    problems = []
    for label in np.unique(labels):
        rows = np.flatnonzero((labels == label) & (splits == "train"))
        held_out = max(1, len(rows) // 5)
        if len(rows) <= len(shares):
            problems.append(
                f"class {classes[label]} has {len(rows)} videos to divide into train and "
                f"{' and '.join(shares)}: it needs at least {len(shares) + 1}"
            )
        for share in shares:
            splits[rows[-held_out:]] = share
            rows = rows[:-held_out]
    refuse(problems)
    return videos.assign(split=splits)


def some_in_each(videos: pd.DataFrame) -> pd.DataFrame:
    """Refuse a split of which every video is missing."""
    problems = [
        f"all {len(rows)} videos of the {split} split are missing; {rows['name'].iloc[0]}: "
        f"{rows['missing'].iloc[0]}"
        for split, rows in videos.groupby("split", sort=False)
        if (rows["missing"] != "").all()
    ]
    refuse(problems)
    return videos


def refuse(problems: list[str], n_missing: int = 0) -> None:
    """Raise with the problems, the first ``MOST_SHOWN`` in full, if there are any."""
    if not problems:
        return
    advice = "Correct them, and run again."
    if n_missing == len(problems):
        advice = "Put the missing videos there, or go on without them: --skip-missing."
    elif n_missing:
        advice += " --skip-missing goes on without the missing videos only."
    shown = "\n".join(f"  {problem}" for problem in problems[:MOST_SHOWN])
    hidden = len(problems) - MOST_SHOWN
    more = f"\n  and {hidden} more" if hidden > 0 else ""
    raise VideoListError(
        f"{len(problems)} problem(s) in the list of videos:\n{shown}{more}\n{advice}"
    )
