"""Static rows: with every f_C, what the same look at the same segments of every video comes to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...agents import read_segments
from ...envs import EnvConfig, open_source, uniform_segments
from ...feature_cache import FeatureCache
from ...recognizer import coarse_to_fine, torch_threads
from ..configs.compare import CompareConfig
from ..evaluation.systems import played_of
from ..evaluation.trace import read_played
from ..executors.units import Executor, Unit
from ..options.devices import device_of
from .cells import STATIC, Cell
from .grid import Job, reads_of, slug
from .systems import ALONE, SystemJob

_COUNTS = 8  # numbers of segments at most: where T is larger they are spread evenly


@dataclass(frozen=True)
class StaticLook:
    """What is done in every video, whatever it shows.

    Attributes:
        label: What it is called in tables.
        segments: In the order in which f_C is fed them.
        option: That f_L runs on in each.
        looks: In which of them f_L runs; None for all.
    """

    label: str
    segments: tuple[int, ...]
    option: int
    looks: tuple[bool, ...] | None = None


@dataclass(frozen=True)
class StaticJob:
    """The static rows of an f_C.

    Attributes:
        out: Folder of what they did.
        classifier: Bundle of the f_C.
        cache: Folder of the cache that f_C reads.
        groups: Option groups of the cache.
        order: In which it was fed the segments in training.
        skips: Whether it was trained with segments that were fed without a look.
        seed: Seed of the training of f_C.
    """

    out: Path
    classifier: Path
    cache: Path
    groups: tuple[str, ...]
    order: str
    skips: bool
    seed: int

    @property
    def name(self) -> str:
        """What the f_C of all seeds are called."""
        return self.classifier.parent.name


def static_jobs(
    designs: Sequence[Job], systems: Sequence[SystemJob], config: CompareConfig
) -> list[StaticJob]:
    """Return a job for each f_C of a comparison that has systems.

    Args:
        designs: Cells of reward designs.
        systems: Cells of systems; without any there are no static rows.
        config: Options of the comparison.
    """
    jobs: dict[Path, StaticJob] = {}

    def add(f_c: Path, cache: Path, groups: Sequence[str], order: str, skips: bool) -> None:
        out = config.out / "cells" / STATIC / f_c.parent.name / f_c.name
        seed = int(f_c.name.removeprefix("seed-"))
        jobs.setdefault(f_c, StaticJob(out, f_c, cache, tuple(groups), order, skips, seed))

    for job in designs if systems else ():
        f_c, skips = job.group.classifier(job.config.seed), config.classifier.fit_skip_rate > 0
        add(f_c, job.group.cache, (job.group.name,), job.group.kind.order, skips)
    for each in systems:
        kind, run = each.system.classifier, each.config
        assert run.classifier is not None
        add(run.classifier, run.cache, run.group, kind.order, kind.skip_rate > 0)
    return [*jobs.values()]


def static_looks(cache: FeatureCache, order: str, skips: bool) -> list[StaticLook]:
    """Return the static rows of an f_C.

    Of each option group it is one option in 1 to T segments, spread uniformly: the only one, or
    that at the frame's centre. An f_C that was trained coarse to fine is also fed the first
    segments of that order, and one that was trained with skips all segments, with a look in 0 to
    T − 1 of them.

    Args:
        cache: With the option groups opened that the f_C reads.
        order: In which the f_C was fed the segments in training.
        skips: Whether it was trained with segments that were fed without a look.
    """
    steps, rows = cache.steps, []
    numbers = np.linspace(1, steps, min(steps, _COUNTS)).round().astype(int).tolist()
    for opened in cache.opened:
        places = opened.group.places
        option = opened.first + int(places.nearest(np.full(2, places.frame_px / 2)))
        name = opened.group.name + (", centre," if places.n_options > 1 else "")
        for n in numbers:
            uniform = tuple(uniform_segments(n, steps).tolist())
            rows.append(StaticLook(f"{name} in {n} of {steps}", uniform, option))
        fewer = [n for n in numbers if n < steps]
        if order == "coarse_to_fine":
            for n in fewer:
                first = tuple(coarse_to_fine(steps)[:n])
                rows.append(StaticLook(f"{name} in the first {n} of {steps}", first, option))
        for n in (0, *fewer) if skips else ():
            looks = tuple(np.isin(range(steps), uniform_segments(n, steps)).tolist())
            label = f"{name} in {n} of {steps}, glance in all"
            rows.append(StaticLook(label, tuple(range(steps)), option, looks))
    return rows


def run_static(jobs: Sequence[StaticJob], config: CompareConfig, do: Executor) -> None:
    """Measure what is not measured.

    Raises:
        FailedError: If an f_C or a cache cannot be read; the others are kept.
    """
    if not jobs:
        return
    todo = {
        f"{job.out}": Unit((job, config), job.out, reads_of(job.cache, config, job.classifier))
        for job in jobs
        if not all(path.is_file() for path in _files(job, _opened(job)).values())
    }
    do(_measure, todo, "static rows", len(jobs) - len(todo))


def static_cells(jobs: Sequence[StaticJob]) -> list[Cell]:
    """Return what the static rows did."""
    return [
        Cell(
            STATIC,
            ALONE,
            None,
            job.seed,
            read_played(path),
            STATIC,
            setting=f"{label} ({job.name})",
            classifier=job.name,
        )
        for job in jobs
        for label, path in _files(job, _opened(job)).items()
    ]


def _opened(job: StaticJob, device: str = "cpu") -> FeatureCache:
    return FeatureCache.open(job.cache, job.groups, device)


def _files(job: StaticJob, cache: FeatureCache) -> dict[str, Path]:
    """Return where what the static rows did is, by their labels."""
    labels = [look.label for look in static_looks(cache, job.order, job.skips)]
    return {label: job.out / f"{slug(label)}.npz" for label in labels}


def _measure(job: StaticJob, config: CompareConfig) -> None:
    device = device_of(config.device)
    env_config = EnvConfig(job.cache, job.classifier, group=job.groups, device=device)
    with torch_threads(config.policy.threads or 1):
        source = open_source(env_config)
        files, videos = _files(job, source.cache), source.cache.split("test")
        job.out.mkdir(parents=True, exist_ok=True)
        for look in static_looks(source.cache, job.order, job.skips):
            if not files[look.label].is_file():
                trace = read_segments(source, videos, look.segments, look.option, looks=look.looks)
                played_of(trace, source.cache).write(files[look.label])
