"""The grid of a comparison: option groups, a classifier for each, and a training for every cell."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from ..agents import Agent, CentralAgent, GaussianAgent, RandomAgent
from ..envs import FeatureSource, FocusEngine
from ..feature_cache import FeatureCache, build_regrouped, read_manifest
from ..recognizer import PatchGrid, read_classifier
from .comparison import Cell
from .configs.compare import CompareConfig
from .configs.fit import FitClassifierConfig, HeadConfig, TrainingConfig
from .configs.train import TrainConfig
from .evaluate import at_keep_ratio
from .fit import fit_classifier
from .options import UsageError, reward_label, usage
from .played import play, read_played
from .run_folder import is_run
from .train import PLAYED, learning_curve, run_training
from .trained import find_trained

_GRID = 7  # candidates per axis of a patch size that the cache lacks


@dataclass(frozen=True)
class Group:
    """An option group of the comparison.

    Attributes:
        name: Such as ``p128_7x7``.
        patch_px: P.
        cache: Folder of the cache that has it.
        classifier: Folder of the bundle of f_C.
    """

    name: str
    patch_px: int
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


def make_groups(config: CompareConfig) -> list[Group]:
    """Return the option groups; encode those that the cache lacks, and train f_C for each.

    Raises:
        CacheError: If the cache cannot be opened, or a patch size cannot be encoded.
        UsageError: If a patch size does not fit into the frame.
    """
    grids = read_manifest(config.cache)["grids"]
    there = {name: PatchGrid(**grid) for name, grid in grids.items()}
    cache = FeatureCache.open(config.cache, next(iter(grids)))
    found: list[tuple[PatchGrid, Path]] = []
    for patch_px in config.patch or sorted({grid.patch_px for grid in there.values()}):
        known = [grid for grid in there.values() if grid.patch_px == patch_px]
        found += [(grid, config.cache) for grid in known]
        if not known:
            found.append(_encode(config, cache, patch_px))
    groups = [
        Group(grid.name, grid.patch_px, root.resolve(), config.out / "classifiers" / grid.name)
        for grid, root in found
    ]
    missing = [group for group in groups if not group.classifier.exists()]
    for _ in _in_processes(
        _train_classifier, [(group, config) for group in missing], config, "f_C"
    ):
        pass
    return groups


def jobs_of(config: CompareConfig, groups: Sequence[Group]) -> list[Job]:
    """Return a job per reward design, option group and seed; and those of AdaFocus+.

    Raises:
        UsageError: If a reward design is unknown, or given twice.
    """
    designs = {reward_label(text): text for text in config.reward}
    if len(designs) < len(config.reward):
        raise UsageError(f"--reward: each design once; got {', '.join(config.reward)}")

    def job(group: Group, design: str, reward: str, seed: int, plus: bool) -> Job:
        training = TrainConfig(
            config.out / "cells" / group.name / _slug(design) / f"seed-{seed}",
            replace(config.policy, threads=config.policy.threads or 1),
            replace(config.skip, plus=plus),
            group.cache,
            group.classifier,
            group.name,
            reward,
            seed,
        )
        return Job(training, group, design, config.keep_ratios if plus else ())

    jobs = []
    for seed in range(config.seeds):  # all designs of a seed first: an early look is a whole one
        for group in groups:
            jobs += [job(group, name, text, seed, False) for name, text in designs.items()]
            if config.skip.plus:
                jobs.append(job(group, "adafocus_plus", config.reward[0], seed, True))
    return jobs


def run_jobs(jobs: Sequence[Job], config: CompareConfig) -> None:
    """Train what is not trained, several at a time, each with a thread of its own.

    Raises:
        OutputError: If a cell's folder holds another training.
    """
    todo = [job for job in jobs if not _is_done(job)]
    for _ in _in_processes(_train_cell, [(job,) for job in todo], config, "stage II", len(jobs)):
        pass


def cells_of(jobs: Sequence[Job]) -> list[Cell]:
    """Return what the trained policies did."""
    cells = []
    for job in jobs:
        out, group = job.config.out, job.group
        who = (job.design, group.name, group.patch_px, job.config.seed)
        if job.config.skip.plus:
            cells += [
                Cell(*who, read_played(_at(out, share)), "plus", share) for share in job.keep_ratios
            ]
        else:
            cells.append(Cell(*who, read_played(out / PLAYED), curve=learning_curve(out)))
    return cells


def fixed_cells(groups: Sequence[Group], seeds: int) -> list[Cell]:
    """Return what the policies do that do not learn; they pay no π."""
    cells = []
    for group in groups:
        cache = FeatureCache.open(group.cache, group.name)
        classifier = read_classifier(group.classifier, cache.fingerprint)
        engine = FocusEngine(FeatureSource(cache, classifier))
        agents: list[tuple[Agent, int]] = [(CentralAgent(), 0)]
        agents += [
            (kind(seed), seed) for kind in (RandomAgent, GaussianAgent) for seed in range(seeds)
        ]
        for agent, seed in agents:
            played, _ = play(engine, agent, cache.split("test"), engine.source.frame_cost)
            cells.append(Cell(agent.name, group.name, group.patch_px, seed, played, "fixed"))
    return cells


def _encode(config: CompareConfig, cache: FeatureCache, patch_px: int) -> tuple[PatchGrid, Path]:
    """Build a cache of the same frames with another patch size."""
    with usage():
        grid = PatchGrid(cache.grid.frame_px, patch_px, _GRID)
    root = config.out / "caches" / grid.name
    root.parent.mkdir(parents=True, exist_ok=True)
    return grid, build_regrouped(cache, grid, root)


def _train_classifier(group: Group, config: CompareConfig) -> None:
    how = config.classifier
    training = TrainingConfig(
        epochs=how.fit_epochs,
        batch_size=how.fit_batch_size,
        optimizer=how.fit_optimizer,
        lr_classifier=how.fit_lr,
    )
    fit_classifier(
        FitClassifierConfig(
            group.classifier,
            group.cache,
            training,
            HeadConfig(how.fit_hidden, how.fit_dropout),
            group.name,
            skip_rate=how.fit_skip_rate,
        ),
        torch.device("cpu"),
    )


def _train_cell(job: Job) -> None:
    run_training(replace(job.config, resume=is_run(job.config.out)))
    if job.keep_ratios:
        trained = find_trained(job.config.out)
        for share in job.keep_ratios:
            each = at_keep_ratio(trained, share)
            videos = each.cache.split("test")
            played, _ = play(each.engine, each.agent, videos, each.cost)
            played.write(_at(job.config.out, share))


def _is_done(job: Job) -> bool:
    wanted = [PLAYED, "results.json"]
    files = [job.config.out / name for name in wanted]
    return all(
        path.is_file() for path in [*files, *(_at(job.config.out, s) for s in job.keep_ratios)]
    )


def _at(out: Path, keep_ratio: float) -> Path:
    return out / f"played_{keep_ratio:g}.npz"


def _in_processes(
    function: Any,
    calls: Sequence[tuple[Any, ...]],
    config: CompareConfig,
    title: str,
    total: int = 0,
) -> Iterator[None]:
    """Call a function in processes of one thread each; an error, or an interruption, stops all."""
    jobs = min(config.jobs or os.cpu_count() or 1, len(calls))
    if not calls:
        return
    quiet = {"TQDM_DISABLE": "1", "OMP_NUM_THREADS": "1"}
    before = {name: os.environ.get(name) for name in quiet}
    os.environ.update(quiet)  # for the processes that are started
    pool = ProcessPoolExecutor(jobs, get_context("spawn"), torch.set_num_threads, (1,))
    total = max(total, len(calls))
    bar = tqdm(total=total, initial=total - len(calls), desc=title, unit="training", disable=False)
    try:
        futures: list[Future[None]] = [pool.submit(function, *call) for call in calls]
        for future in as_completed(futures):
            future.result()
            bar.update()
            yield
    finally:
        bar.close()
        pool.shutdown(cancel_futures=True)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _slug(design: str) -> str:
    return re.sub(r"[^\w.=-]+", "-", design).strip("-")
