"""Rows of runs that were trained end to end: played on their video files, once."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...feature_cache import FeatureCache, fingerprint, read_manifest, rows_digest
from ..evaluation.opened_runs import find_pixel_run, is_pixel_run
from ..evaluation.pixel_runs import PixelRun
from ..evaluation.plug_back import CENTRAL
from ..evaluation.trace import Played, read_played
from ..options.parse import UsageError
from ..training.policy_run import PLAYED
from .cells import Cell, ComparisonError

ALONE = "end to end"  # the group of these rows, where there are no others
_SPLIT = "test"
# What tells a run from the others of its row, or where and how it was computed.
_NOT_NAMED = (
    *("seed", "device", "videos", "train", "val", "test", "format", "classes", "images"),
    "skip-missing",
)


@dataclass(frozen=True, eq=False)
class SplitVideos:
    """The test videos of a comparison, or those of another split.

    Attributes:
        names: ``(B,)``.
        labels: ``(B,)`` int64, the (first) true class.
        source: Whose videos they are, in words.
        n_classes: C, where it is known.
    """

    names: NDArray[np.str_]
    labels: NDArray[np.int64]
    source: str
    n_classes: int | None = None

    @classmethod
    def of_cache(cls, root: Path, split: str = _SPLIT) -> SplitVideos:
        """Return those of a split of a feature cache.

        Raises:
            CacheError: If it cannot be opened, or has none.
        """
        cache = FeatureCache.open(root, next(iter(read_manifest(root)["groups"])))
        return cls.of_opened(cache, split)

    @classmethod
    def of_opened(cls, cache: FeatureCache, split: str = _SPLIT) -> SplitVideos:
        """Return those of a split of an opened cache; raises as `of_cache`."""
        rows = cache.split(split)
        names = cache.videos["name"].to_numpy()[rows].astype(np.str_)
        labels = cache.labels[rows].cpu().numpy()
        return cls(names, labels, f"the cache {cache.root}", cache.n_classes)

    @classmethod
    def of_run(cls, run: PixelRun) -> SplitVideos:
        """Return those of a run that was trained end to end.

        Raises:
            UsageError: If it has none.
        """
        rows = run.videos.table.iloc[run.rows(_SPLIT)]
        names = rows["name"].to_numpy().astype(np.str_)
        labels = rows["label"].to_numpy(np.int64)
        return cls(names, labels, f"{run.folder}", len(run.videos.classes))

    def difference(self, other: SplitVideos) -> str | None:
        """Say in what the other's videos differ; None if they are the same, in the same order.

        A list names a video by its path below the folder of the videos, and a cache may name it by
        the end of that path alone.
        """
        if len(self.names) != len(other.names):
            return f"{len(other.names)} videos instead of {len(self.names)}"
        for name, its in zip(self.names.tolist(), other.names.tolist(), strict=True):
            if not _one_video(name, its):
                return f"{its} where {name} is expected"
        if differs := int((self.labels != other.labels).sum()):
            return f"other true classes in {differs} of {len(self.labels)} videos"
        return None

    def check(self, played: Played, whose: str) -> None:
        """Refuse what a file says that a policy did, if that was not in these videos.

        Args:
            played: What the file says.
            whose: The policy, or the file.

        Raises:
            ComparisonError: If it has other videos or true classes, or predicts a class that is
                none.
        """
        problem = self.difference(SplitVideos(played.names, played.labels, whose))
        largest = int(played.predictions.max())
        if problem is None and self.n_classes is not None and largest >= self.n_classes:
            problem = f"a prediction {largest}, where there are {self.n_classes} classes"
        if problem is not None:
            raise ComparisonError(
                f"{whose}: expected what was done in the test videos of {self.source}; got "
                f"{problem}: the file of what it did was changed; put it back, or train it again"
            )


@dataclass(frozen=True, eq=False)
class EndToEndRuns:
    """Runs that were trained end to end, and what their rows are called.

    Attributes:
        runs: The runs, opened.
        names: Of the row of each.
    """

    runs: tuple[PixelRun, ...]
    names: tuple[str, ...]

    @classmethod
    def find(cls, paths: Sequence[Path], videos_root: Path | None, device: str) -> EndToEndRuns:
        """Open runs, and name their rows: by what they are, and by what their options differ in.

        Args:
            paths: Their folders.
            videos_root: Where the folder of their videos is now.
            device: Where they are played.

        Raises:
            UsageError: If one is no finished run of ``focusgym fit end-to-end`` or ``fit cubes``,
                or has no test videos, two are the same, or those of a row were trained on other
                videos.
            OutputError, BundleError, VideoListError: As `find_pixel_run`.
        """
        for path in paths:
            if not is_pixel_run(path) or not (path / "bundle.json").is_file():
                raise UsageError(
                    f"--end-to-end {path}: expected the folder of a finished run of `focusgym fit "
                    "end-to-end` or `fit cubes`, and it is none: train it to its end, or leave it "
                    "out"
                )
        runs = tuple(find_pixel_run(path, videos_root, device) for path in paths)
        names = _names(runs)
        first: dict[str, PixelRun] = {}
        seen: set[tuple[str, int]] = set()
        for run, name in zip(runs, names, strict=True):
            run.check(_SPLIT)
            if (name, run.seed) in seen:
                raise UsageError(
                    f"--end-to-end {run.folder}: there is already a run with its settings and its "
                    "seed: give each once"
                )
            seen.add((name, run.seed))
            other = first.setdefault(name, run)
            if _trained_on(run) != _trained_on(other):
                raise UsageError(
                    f"--end-to-end {run.folder}: was trained on other videos than {other.folder}, "
                    "with the same settings: compare runs on the same lists"
                )
        return cls(runs, names)

    def check(self, expected: SplitVideos | None) -> None:
        """Refuse runs whose test videos are not those of the comparison.

        Args:
            expected: Those; None for the first run's.

        Raises:
            UsageError: If a run has others.
        """
        for run in self.runs:
            its = SplitVideos.of_run(run)
            expected = expected or its
            if difference := expected.difference(its):
                raise UsageError(
                    f"--end-to-end {run.folder}: expected the test videos of {expected.source}; "
                    f"got {difference}: give runs on the same videos, or compare them by themselves"
                )

    def cells(self, out: Path, others: Sequence[Cell]) -> list[Cell]:
        """Return what the runs did in the test videos, beside the others of each option group.

        What a run sees does not depend on these groups: its rows are the same in all of them. What
        it did is kept in the comparison's folder, and is measured again only if the run, or its
        list of videos, was changed.

        Args:
            out: Folder of the comparison.
            others: The other cells; the runs were checked to have their videos.

        Raises:
            VideoError: If a video is gone or cannot be read.
            PlayedError: If what was kept is damaged.
        """
        groups = dict.fromkeys((cell.group, cell.patch_px) for cell in others)
        cells = []
        for run, name in zip(self.runs, self.names, strict=True):
            played = _played(run, out)
            if others:  # by whose names videos are paired
                played = replace(played, names=others[0].played.names)
            of_run = groups or {(ALONE, run.side_px): None}
            cells += [Cell(name, group, px, run.seed, played) for group, px in of_run]
        return cells

    def notes(self) -> list[str]:
        """Say how they were measured."""
        if not self.runs:
            return []
        sentences = [
            f"Trained end to end, from pixels: {', '.join(dict.fromkeys(self.names))}. Their "
            "encoders are their own, and they were measured on the video files."
        ]
        named = zip(self.runs, self.names, strict=True)
        if glancing := dict.fromkeys(name for run, name in named if run.glances):
            sentences.append(
                f"First a glance at the whole video, then cubes: {', '.join(glancing)}. Their mean "
                "is over the prediction after the glance and those after the cubes, and what they "
                "keep is a share of the cubes."
            )
        return sentences


def _one_video(name: str, other: str) -> bool:
    """Say whether one name is the end of the other, as paths."""
    one, two = PurePosixPath(name).parts, PurePosixPath(other).parts
    n = min(len(one), len(two))
    return one[-n:] == two[-n:]


def _names(runs: Sequence[PixelRun]) -> tuple[str, ...]:
    """Return what each run is, and what its options say that others of its method say otherwise."""
    methods: dict[str, list[Mapping[str, Any]]] = {}
    for run in runs:
        methods.setdefault(run.method, []).append(_settings(run))
    differ = {
        method: [
            key
            for key in dict.fromkeys(key for each in settings for key in each)
            if key not in _NOT_NAMED and len({str(each.get(key)) for each in settings}) > 1
        ]
        for method, settings in methods.items()
    }
    return tuple(
        ", ".join([run.method, *(f"{key}={_settings(run).get(key)}" for key in differ[run.method])])
        for run in runs
    )


def _settings(run: PixelRun) -> dict[str, Any]:
    """Return a run's options, of networks what they are: where they lay says nothing of a row."""
    settings = dict(run.settings) | run.networks
    if "networks" in settings:
        settings["networks"] = "given" if settings["networks"] is not None else "trained"
    return settings


def _trained_on(run: PixelRun) -> tuple[str, tuple[str, ...]]:
    return rows_digest(run.videos.table.assign(view=CENTRAL)), run.videos.classes


def _played(run: PixelRun, out: Path) -> Played:
    """Return what a run did in its test videos, measured unless that is kept."""
    rows = run.videos.table.iloc[run.rows(_SPLIT)]
    key = fingerprint(
        {
            "files": [
                hashlib.sha256((run.folder / name).read_bytes()).hexdigest()
                for name in ("bundle.json", "weights.safetensors")
            ],
            "videos": rows_digest(rows.assign(view=CENTRAL)),
            "method": run.method,
            "seed": run.seed,
        }
    )
    kept = out / "cells" / ALONE.replace(" ", "-") / key[:16] / PLAYED
    if not kept.is_file():
        (outcome,) = run.play(_SPLIT, seed=run.seed)
        kept.parent.mkdir(parents=True, exist_ok=True)
        outcome.played.write(kept)
    played = read_played(kept)
    SplitVideos.of_run(run).check(played, f"{kept}")
    return played
