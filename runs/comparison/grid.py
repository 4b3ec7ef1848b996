"""The grid of a comparison: option groups, their classifiers, and a training for every cell."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ...agents import (
    Agent,
    CentralAgent,
    ClassifierKind,
    FixedAgent,
    GaussianAgent,
    OracleAgent,
    RandomAgent,
    best_fixed_option,
)
from ...envs import EnvConfig, FeatureSource, FocusEngine, open_source
from ...feature_cache import FeatureCache, build_regrouped, read_manifest, stored_groups
from ...recognizer import PatchGrid, Places, read_classifier
from ..configs.compare import CompareConfig
from ..configs.fit import FitClassifierConfig, HeadConfig
from ..configs.stages import TrainingConfig
from ..configs.train import TrainConfig
from ..evaluation.trace import play, read_played
from ..evaluation.trained import at_keep_ratio, find_trained
from ..executors.units import Executor, Unit
from ..folders.run_folder import RESULTS, is_run
from ..options.devices import device_of
from ..options.parse import UsageError, reward_label, usage
from ..options.ppo import usual_hidden
from ..training.policy_run import PLAYED, learning_curve, run_training, with_sizes
from ..training.stage_run import fit_classifier
from .summary import Cell
from .times import milliseconds

SPLITS = ("train", "val", "test")
_GRID = 7  # candidates per axis of a patch size that the cache lacks
_FIXED = (CentralAgent, RandomAgent, GaussianAgent, FixedAgent)
_held: list[FeatureSource] = []  # of the group whose cells a process trains
_GRU = ClassifierKind("gru", reuse_glance=True)  # AdaFocus's f_C
_NO_GLANCE = ClassifierKind("gru")
PLUS = "adafocus_plus"  # design of the rows of AdaFocus+
NO_GLANCE = "no_glance"  # ends the names of rows whose f_C does not read ē^G


@dataclass(frozen=True)
class Group:
    """An option group of the comparison.

    Attributes:
        name: Of the group in its cache.
        places: Where the options are.
        cache: Folder of the cache that has it, or will have it.
        classifiers: Folder of the bundles of f_C, one for each seed.
        kind: The kind of f_C.
    """

    name: str
    places: Places
    cache: Path
    classifiers: Path
    kind: ClassifierKind = _GRU

    def classifier(self, seed: int) -> Path:
        """Return the folder of the bundle of the f_C of a seed."""
        return self.classifiers / f"seed-{seed}"

    def without_glance(self) -> Group:
        """Return the same options beside an f_C that does not read ē^G (Table 4)."""
        classifiers = self.classifiers.with_name(f"{self.classifiers.name}_{NO_GLANCE}")
        return replace(self, classifiers=classifiers, kind=_NO_GLANCE)


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
    stored = list(stored_groups(read_manifest(config.cache)).values())
    patches = [group for group in stored if group.places.grid is not None]
    cache = FeatureCache.open(config.cache, stored[0].name)
    for split in SPLITS:
        cache.split(split)  # refused where it is empty
    if len({*config.patch}) < len(config.patch):
        raise UsageError(f"--patch: each size once; got {', '.join(map(str, config.patch))}")
    groups: list[Group] = []

    def add(name: str, places: Places, root: Path) -> None:
        kind = _GRU if config.classifier.fit_reuse_glance else _NO_GLANCE
        groups.append(Group(name, places, root.resolve(), config.out / "classifiers" / name, kind))

    if not config.patch:
        for group in sorted(patches or stored, key=lambda group: group.places.side_px):
            add(group.name, group.places, config.cache)
    for side_px in config.patch:
        known = [group for group in patches if group.places.side_px == side_px]
        for group in known:
            add(group.name, group.places, config.cache)
        if not known:
            with usage():
                grid = PatchGrid(cache.frames.frame_px, side_px, _GRID)
            add(grid.name, grid, config.out / "caches" / grid.name)
    return groups


def make_groups(groups: Sequence[Group], config: CompareConfig, do: Executor) -> None:
    """Encode the option groups that the cache lacks, and train an f_C for each and every seed.

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
    groups = with_variants(groups, config)
    for group in groups:
        group.classifiers.mkdir(parents=True, exist_ok=True)
    wanted = {
        group.classifier(seed): Unit(
            (group, seed, config), group.classifier(seed), reads_of(group.cache, config)
        )
        for group in groups
        for seed in range(config.seeds)
    }
    missing = {f"{path}": unit for path, unit in wanted.items() if not path.exists()}
    do(_train_classifier, missing, "f_C", len(wanted) - len(missing))


def jobs_of(config: CompareConfig, groups: Sequence[Group]) -> list[Job]:
    """Return a job per reward design, option group and seed; and of the first design's variants.

    Raises:
        UsageError: If a reward design is unknown, or given twice.
    """
    if not groups:
        return []
    designs = {reward_label(text): text for text in config.reward}
    if len(designs) < len(config.reward):
        raise UsageError(f"--reward: each design once; got {', '.join(config.reward)}")
    first = next(iter(designs))

    def job(group: Group, design: str, reward: str, seed: int, plus: bool = False) -> Job:
        folder = slug(f"{PLUS} {first}" if plus else design)
        training = TrainConfig(
            config.out / "cells" / group.name / folder / f"seed-{seed}",
            replace(config.policy, threads=config.policy.threads or 1),
            replace(config.skip, plus=plus),
            group.cache,
            group.classifier(seed),
            (group.name,),
            reward,
            seed,
            config.device,
        )
        return Job(training, group, design, config.keep_ratios if plus else ())

    jobs = []
    for group in groups:  # its cells share what a process has read and projected of its features
        for seed in range(config.seeds):
            jobs += [job(group, name, text, seed) for name, text in designs.items()]
            if config.skip.plus:
                jobs.append(job(group, PLUS, designs[first], seed, True))
            if NO_GLANCE in config.variants:
                without = group.without_glance()
                jobs.append(job(without, f"{first} {NO_GLANCE}", designs[first], seed))
    return jobs


def rows_of(jobs: Sequence[Job], config: CompareConfig) -> list[str]:
    """Return the labels of all rows that the comparison will have."""
    fixed = [agent.name for agent in _FIXED] + [OracleAgent.name] * config.oracle
    if any(job.group.kind != jobs[0].group.kind for job in jobs):
        fixed += [f"{name} {NO_GLANCE}" for name in fixed]
    named = [
        label
        for job in jobs
        for label in ([f"{job.design} η={s:g}" for s in job.keep_ratios] or [job.design])
    ]
    if not named:
        return []
    return [*dict.fromkeys(named), *fixed]


def run_jobs(jobs: Sequence[Job], config: CompareConfig, do: Executor) -> None:
    """Train what is not trained, several at a time, each with a thread of its own.

    Raises:
        FailedError: If cells cannot be trained; the others are kept.
    """
    todo = {
        f"{job.config.out}": Unit(
            (job,),
            job.config.out,
            reads_of(job.group.cache, config, job.group.classifier(job.config.seed)),
        )
        for job in jobs
        if not _is_done(job)
    }
    do(_train_cell, todo, "stage II", len(jobs) - len(todo))


def cells_of(jobs: Sequence[Job]) -> list[Cell]:
    """Return what the trained policies did."""
    cells = []
    for job in jobs:
        out, group = job.config.out, job.group
        who = (job.design, group.name, group.places.side_px, job.config.seed)
        if job.config.skip.plus:
            cells += [
                Cell(
                    *who,
                    read_played(_at(out, share)),
                    "plus",
                    share,
                    milliseconds=milliseconds(out, share),
                    classifier=group.classifiers.name,
                )
                for share in job.keep_ratios
            ]
        else:
            played, curve = read_played(out / PLAYED), learning_curve(out)
            timed, f_c = milliseconds(out), group.classifiers.name
            cells.append(Cell(*who, played, curve=curve, milliseconds=timed, classifier=f_c))
    return cells


def reads_of(cache: Path, config: CompareConfig, *others: Path) -> tuple[Path, ...]:
    """Return which folders of the comparison a unit reads: the cache, if it was made here."""
    return (cache, *others) if cache != config.cache else others


def with_variants(groups: Sequence[Group], config: CompareConfig) -> list[Group]:
    """Return the groups, and behind them the same without ē^G in f_C, if that is asked for."""
    without = [group.without_glance() for group in groups if NO_GLANCE in config.variants]
    return [*groups, *without]


def fixed_cells(groups: Sequence[Group], config: CompareConfig, device: str) -> list[Cell]:
    """Return what the policies do that do not learn, on the f_C of each seed; they pay no π.

    With ``--oracle`` also what knows the label, which pays for all options.
    """
    cells = []
    for group in with_variants(groups, config):
        variant = f" {NO_GLANCE}" if group.kind != groups[0].kind else ""
        cache, side_px = FeatureCache.open(group.cache, group.name, device), group.places.side_px
        for seed in range(config.seeds):
            classifier = read_classifier(group.classifier(seed), cache.fingerprint, cache.root)
            engine = FocusEngine(FeatureSource(cache, classifier))
            fixed = FixedAgent(best_fixed_option(engine, cache.split("val")))
            agents: list[Agent] = [CentralAgent(), RandomAgent(seed), GaussianAgent(seed), fixed]
            agents += [OracleAgent()] if config.oracle else []
            for agent in agents:
                played, _ = play(engine, agent, cache.split("test"), engine.source.frame_cost)
                who = (f"{agent.name}{variant}", group.name, side_px, seed)
                cells.append(Cell(*who, played, "bound" if agent.tries_all else "fixed"))
    return cells


def _train_classifier(group: Group, seed: int, config: CompareConfig) -> None:
    train_f_c(
        group.classifier(seed),
        group.cache,
        (group.name,),
        config,
        group.kind,
        skip_rate=config.classifier.fit_skip_rate,
        seed=seed,
    )


def train_f_c(
    out: Path,
    cache: Path,
    groups: tuple[str, ...],
    config: CompareConfig,
    kind: ClassifierKind,
    *,
    skip_rate: float,
    seed: int = 0,
) -> None:
    """Train an f_C of a comparison.

    Args:
        out: Folder of its bundle.
        cache: On which it is trained.
        groups: Option groups that it reads.
        config: Options of the comparison.
        kind: The kind of f_C.
        skip_rate: Share of the frames that are skipped in training.
        seed: Of weights and draws.

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
        seed=seed,
    )
    head = HeadConfig(hidden, how.fit_dropout, kind.reuse_glance, kind.aggregation)
    fit_classifier(
        FitClassifierConfig(
            out, cache, training, head, groups, skip_rate=skip_rate, order=kind.order
        ),
        torch.device(device_of(config.device)),
    )


def _train_cell(job: Job) -> None:
    group, device = job.group, device_of(job.config.device)
    f_c = group.classifier(job.config.seed)
    config = EnvConfig(group.cache, f_c, group=group.name, device=device)
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
