"""The grid of a comparison: option groups, a classifier for each, and a training for every cell."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ...agents import Agent, CentralAgent, ClassifierKind, GaussianAgent, RandomAgent
from ...envs import EnvConfig, FeatureSource, FocusEngine, open_source
from ...feature_cache import FeatureCache, build_regrouped, read_manifest, stored_groups
from ...recognizer import PatchGrid, Places, read_classifier
from ..configs.compare import CompareConfig
from ..configs.fit import FitClassifierConfig, HeadConfig, TrainingConfig
from ..configs.train import TrainConfig
from ..evaluation.trace import play, read_played
from ..evaluation.trained import at_keep_ratio, find_trained
from ..folders.run_folder import RESULTS, is_run
from ..options.devices import device_of
from ..options.parse import UsageError, reward_label, usage
from ..options.ppo import usual_hidden
from ..training.policy_run import PLAYED, learning_curve, run_training, with_sizes
from ..training.processes import in_processes
from ..training.stage_run import fit_classifier
from .summary import Cell

_GRID = 7  # candidates per axis of a patch size that the cache lacks
_held: list[FeatureSource] = []  # of the group whose cells a process trains
_GRU = ClassifierKind("gru", reuse_glance=True)  # AdaFocus's f_C
PLUS = "adafocus_plus"  # design of the rows of AdaFocus+


@dataclass(frozen=True)
class Group:
    """An option group of the comparison.

    Attributes:
        name: Of the group in its cache.
        places: Where the options are.
        cache: Folder of the cache that has it, or will have it.
        classifier: Folder of the bundle of f_C.
    """

    name: str
    places: Places
    cache: Path
    classifier: Path


@dataclass(frozen=True)
class Job:
    """A cell to be trained.

    Attributes:
        config: Of the training; its folder is the cell's.
        group: What it looks at.
        design: Name of its row.
        keep_ratios: Of AdaFocus+, η at which it is measured besides.
    """

    config: TrainConfig
    group: Group
    design: str
    keep_ratios: tuple[float, ...] = ()


def groups_of(config: CompareConfig) -> list[Group]:
    """Return the option groups, of which some may be still to be made; none without designs.

    Where no patch sizes are asked for these are the groups of patches, or all if there are none.

    Raises:
        CacheError: If the cache cannot be opened, or lacks a split.
        UsageError: If a patch size is given twice, or does not fit into the frame.
    """
    if not config.reward:
        return []
    there = list(stored_groups(read_manifest(config.cache)).values())
    patches = [group for group in there if isinstance(group.places, PatchGrid)]
    cache = FeatureCache.open(config.cache, there[0].name)
    for split in ("train", "val", "test"):
        cache.split(split)  # refused where it is empty
    if len({*config.patch}) < len(config.patch):
        raise UsageError(f"--patch: each size once; got {', '.join(map(str, config.patch))}")
    found: list[Group] = []

    def add(name: str, places: Places, root: Path) -> None:
        found.append(Group(name, places, root.resolve(), config.out / "classifiers" / name))

    if not config.patch:
        for group in sorted(patches or there, key=lambda group: group.places.side_px):
            add(group.name, group.places, config.cache)
    for side_px in config.patch:
        known = [group for group in patches if group.places.side_px == side_px]
        for group in known:
            add(group.name, group.places, config.cache)
        if not known:
            with usage():
                grid = PatchGrid(cache.frames.frame_px, side_px, _GRID)
            add(grid.name, grid, config.out / "caches" / grid.name)
    return found


def make_groups(groups: Sequence[Group], config: CompareConfig) -> None:
    """Encode the option groups that the cache lacks, and train f_C for each.

    Raises:
        CacheError, VideoError: If a patch size cannot be encoded.
        FailedError: If an f_C cannot be trained; the others are kept.
    """
    if not groups:
        return
    group_of_cache = next(iter(read_manifest(config.cache)["groups"]))
    cache = FeatureCache.open(config.cache, group_of_cache, videos_root=config.videos_root)
    for group in groups:
        if group.cache != config.cache:
            group.cache.parent.mkdir(exist_ok=True)
            build_regrouped(cache, group.places, group.cache)
    missing = [group for group in groups if not group.classifier.exists()]
    (config.out / "classifiers").mkdir(exist_ok=True)
    calls = {f"{group.classifier}": (group, config) for group in missing}
    in_processes(_train_classifier, calls, config.jobs, "f_C", len(groups) - len(missing))


def jobs_of(config: CompareConfig, groups: Sequence[Group]) -> list[Job]:
    """Return a job per reward design, option group and seed; and those of AdaFocus+.

    Raises:
        UsageError: If a reward design is unknown, or given twice.
    """
    if not groups:
        return []
    designs = {reward_label(text): text for text in config.reward}
    if len(designs) < len(config.reward):
        raise UsageError(f"--reward: each design once; got {', '.join(config.reward)}")
    first = next(iter(designs))

    def job(group: Group, design: str, reward: str, seed: int, plus: bool) -> Job:
        folder = slug(f"{PLUS} {first}" if plus else design)
        training = TrainConfig(
            config.out / "cells" / group.name / folder / f"seed-{seed}",
            replace(config.policy, threads=config.policy.threads or 1),
            replace(config.skip, plus=plus),
            group.cache,
            group.classifier,
            (group.name,),
            reward,
            seed,
            config.device,
        )
        return Job(training, group, design, config.keep_ratios if plus else ())

    jobs = []
    for group in groups:  # its cells share what a process has read and projected of its features
        for seed in range(config.seeds):
            jobs += [job(group, name, text, seed, False) for name, text in designs.items()]
            if config.skip.plus:
                jobs.append(job(group, PLUS, designs[first], seed, True))
    return jobs


def rows_of(jobs: Sequence[Job]) -> list[str]:
    """Return the labels of all rows that the comparison will have."""
    named = [
        label
        for job in jobs
        for label in ([f"{job.design} η={s:g}" for s in job.keep_ratios] or [job.design])
    ]
    if not named:
        return []
    return [*dict.fromkeys(named), CentralAgent.name, RandomAgent.name, GaussianAgent.name]


def run_jobs(jobs: Sequence[Job], config: CompareConfig) -> None:
    """Train what is not trained, several at a time, each with a thread of its own.

    Raises:
        FailedError: If cells cannot be trained; the others are kept.
    """
    todo = {f"{job.config.out}": (job,) for job in jobs if not _is_done(job)}
    in_processes(_train_cell, todo, config.jobs, "stage II", len(jobs) - len(todo))


def cells_of(jobs: Sequence[Job]) -> list[Cell]:
    """Return what the trained policies did."""
    cells = []
    for job in jobs:
        out, group = job.config.out, job.group
        who = (job.design, group.name, group.places.side_px, job.config.seed)
        if job.config.skip.plus:
            cells += [
                Cell(*who, read_played(_at(out, share)), "plus", share) for share in job.keep_ratios
            ]
        else:
            cells.append(Cell(*who, read_played(out / PLAYED), curve=learning_curve(out)))
    return cells


def fixed_cells(groups: Sequence[Group], seeds: int, device: str) -> list[Cell]:
    """Return what the policies do that do not learn; they pay no π."""
    cells = []
    for group in groups:
        cache = FeatureCache.open(group.cache, group.name, device)
        classifier = read_classifier(group.classifier, cache.fingerprint, cache.root)
        engine = FocusEngine(FeatureSource(cache, classifier))
        agents: list[tuple[Agent, int]] = [(CentralAgent(), 0)]
        agents += [
            (kind(seed), seed) for kind in (RandomAgent, GaussianAgent) for seed in range(seeds)
        ]
        for agent, seed in agents:
            played, _ = play(engine, agent, cache.split("test"), engine.source.frame_cost)
            side_px = group.places.side_px
            cells.append(Cell(agent.name, group.name, side_px, seed, played, "fixed"))
    return cells


def _train_classifier(group: Group, config: CompareConfig) -> None:
    skip_rate = config.classifier.fit_skip_rate
    train_f_c(group.classifier, group.cache, (group.name,), config, skip_rate=skip_rate)


def train_f_c(
    out: Path,
    cache: Path,
    groups: tuple[str, ...],
    config: CompareConfig,
    kind: ClassifierKind = _GRU,
    *,
    skip_rate: float,
) -> None:
    """Train an f_C of a comparison.

    Args:
        out: Folder of its bundle.
        cache: On which it is trained.
        groups: Option groups that it reads.
        config: Of the comparison.
        kind: Which f_C.
        skip_rate: Share of the frames that are skipped in training.

    Raises:
        CacheError, FitError: As `fit_classifier`.
    """
    how, hidden = config.classifier, config.classifier.fit_hidden
    if hidden is None:
        features = FeatureCache.open(cache, groups)
        hidden = usual_hidden(features.glance_channels, features.local_channels)
    training = TrainingConfig(
        epochs=how.fit_epochs,
        batch_size=how.fit_batch_size,
        optimizer=how.fit_optimizer,
        lr_classifier=how.fit_lr,
    )
    head = HeadConfig(hidden, how.fit_dropout, kind.reuse_glance, kind.aggregation)  # type: ignore[arg-type]
    fit_classifier(
        FitClassifierConfig(
            out, cache, training, head, groups, skip_rate=skip_rate, order=kind.order
        ),
        torch.device(device_of(config.device)),
    )


def _train_cell(job: Job) -> None:
    group, device = job.group, device_of(job.config.device)
    config = EnvConfig(group.cache, group.classifier, group=group.name, device=device)
    _held[:] = [open_source(config)]
    run_training(replace(with_sizes(job.config), resume=is_run(job.config.out)))
    if job.keep_ratios:
        trained = find_trained(job.config.out, device=device)
        for share in job.keep_ratios:
            each = at_keep_ratio(trained, share)
            videos = each.cache.split("test")
            played, _ = play(each.engine, each.agent, videos, each.cost)
            played.write(_at(job.config.out, share))


def _is_done(job: Job) -> bool:
    out = job.config.out
    return all(path.is_file() for path in (out / RESULTS, *(_at(out, s) for s in job.keep_ratios)))


def _at(out: Path, keep_ratio: float) -> Path:
    return out / f"played_{keep_ratio:g}.npz"


def slug(design: str) -> str:
    """Return a name as that of a folder."""
    return re.sub(r"[^\w.=-]+", "-", design).strip("-")
