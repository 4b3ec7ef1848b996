"""Rows of systems: an f_C for each kind and seed, a training for each setting and seed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path

from ...agents import System, find_system
from ...agents.systems.encoders import ANY
from ...agents.systems.registry import SYSTEMS
from ...feature_cache import FeatureCache
from ...recognizer import in_words
from ...recognizer.files.documents import MOST_JSON_BYTES
from ...recognizer.files.regular import read_limited
from ..configs.compare import CompareConfig
from ..configs.train import (
    LearnerConfig,
    PolicyTrainingConfig,
    SkipConfig,
    SystemConfig,
    TrainConfig,
)
from ..evaluation.trace import read_played
from ..executors.units import Executor, Unit
from ..folders.atomic import OutputError
from ..folders.run_folder import RESULTS, is_run
from ..options.parse import UsageError
from ..options.systems import groups_of_system, own_groups, setting_of, system_of
from ..training.policy_run import PLAYED, learning_curve
from ..training.system_run import run_system
from .cells import read_usage
from .end_to_end import SplitVideos
from .grid import SPLITS, Group, Job, slug, train_f_c
from .summary import Cell
from .times import milliseconds

ALL = "all"  # in place of names: every system that the cache serves
_RECIPE = "recipe.json"  # in a cell
ALONE = "systems"  # the group of rows of systems, where no reward designs are compared


@dataclass(frozen=True)
class SystemJob:
    """A cell of a system.

    Attributes:
        config: Of its run; its folder is the cell's.
        system: The recipe.
        label: Of its setting; empty where it has one alone.
    """

    config: TrainConfig
    system: System
    label: str


def every_system(config: CompareConfig) -> tuple[tuple[str, ...], list[str]]:
    """Return the names of all systems that a cache serves, and a note on those that it does not.

    Raises:
        CacheError: If the cache cannot be opened.
    """
    systems = {name: find_system(name) for name in SYSTEMS}
    n_groups = {name: len(own_groups(of, _cache_of(of, config))) for name, of in systems.items()}
    served = [name for name, n in n_groups.items() if n > systems[name].several_groups]
    if not (lacking := [name for name in SYSTEMS if name not in served]):
        return tuple(served), []
    return tuple(served), [
        f"Left out of --systems {ALL}, for the cache has not what they read: {', '.join(lacking)}. "
        "Their presets say which option groups and encoders that is."
    ]


def system_jobs(config: CompareConfig) -> list[SystemJob]:
    """Return a job per setting and seed of each system.

    Raises:
        UsageError: If a system is unknown or given twice, two have one name, there are options for
            learning and none that learns, the cache lacks what a system reads, or that of clips has
            other videos in a split.
        CacheError: If the cache cannot be opened, or lacks a split.
    """
    if config.clips_cache is not None:
        _check_clips(config.cache, config.clips_cache)
    if len({*config.systems}) < len(config.systems):
        raise UsageError(f"--systems: each once; got {', '.join(config.systems)}")
    usual = LearnerConfig()
    systems = {name: system_of(SystemConfig(name), usual) for name in config.systems}
    learned = [name for name, system in systems.items() if system.in_environment]
    _check_names(systems)
    if not learned and config.learning != usual:
        raise UsageError(
            "--decisions, --learner: of systems that learn in an environment, and --systems names "
            f"{', '.join(systems) or 'none'}: leave them out"
        )
    jobs = []
    for name in systems:
        learning = config.learning if name in learned else _sizes(systems[name], config)
        system = system_of(SystemConfig(name), learning)
        root = _cache_of(system, config)
        groups = groups_of_system(system, root, ())
        cache = FeatureCache.open(root, groups)
        for split in SPLITS:
            cache.split(split)  # refused where it is empty
        clips = "" if root == config.cache else "clips_"
        f_c = slug(f"{clips}{'+'.join(groups)}_{system.classifier.name}")
        knob = len(system.settings) > 1
        for setting in system.settings_of(cache.steps):
            label = system.setting_label(setting)
            for seed in range(config.seeds):
                training = TrainConfig(
                    config.out / "cells" / ALONE / system.name / slug(label) / f"seed-{seed}",
                    PolicyTrainingConfig(threads=config.policy.threads or 1),
                    SkipConfig(),
                    root,
                    config.out / "classifiers" / f_c / f"seed-{seed}",
                    groups,
                    seed=seed,
                    device=config.device,
                    method=SystemConfig(name, setting if knob else None),
                    learning=learning,
                )
                jobs.append(SystemJob(training, system, label))
    return jobs


def system_rows(jobs: Sequence[SystemJob]) -> list[str]:
    """Return the labels of the rows that the systems will have."""
    return [*dict.fromkeys(f"{job.system.name} {job.label}".strip() for job in jobs)]


def run_systems(jobs: Sequence[SystemJob], config: CompareConfig, do: Executor) -> None:
    """Train each f_C that is missing, then what is not trained, several at a time.

    Raises:
        FailedError: If something cannot be trained; the others are kept.
    """
    if not jobs:
        return
    wanted = {job.config.classifier: job for job in jobs}
    missing = {
        f"{path}": Unit((job, config), path) for path, job in wanted.items() if not _exists(path)
    }
    for path in wanted:
        assert path is not None
        path.parent.mkdir(parents=True, exist_ok=True)
    do(_train_classifier, missing, "f_C", len(wanted) - len(missing))
    todo = {
        f"{job.config.out}": Unit(
            (job,), job.config.out, (job.config.classifier,) if job.config.classifier else ()
        )
        for job in jobs
        if not (job.config.out / RESULTS).is_file()
    }
    do(_train_cell, todo, "systems", len(jobs) - len(todo))


def system_cells(jobs: Sequence[SystemJob], groups: Sequence[Group]) -> list[Cell]:
    """Return what the systems did, beside the designs of each option group.

    What a system reads does not depend on the group of the designs: its rows are the same in all.
    """
    places: list[tuple[str, int | None]] = [(each.name, each.places.side_px) for each in groups]
    cells = []
    for job in jobs:
        out = job.config.out
        usage, played = read_usage(out), read_played(out / PLAYED)
        curve = learning_curve(out) if job.system.in_environment else None
        cells += [
            Cell(
                job.system.name,
                name,
                side_px,
                job.config.seed,
                played,
                "trained" if job.system.learns else "fixed",
                curve=curve,
                setting=job.label,
                usage=usage,
                milliseconds=milliseconds(out),
                classifier=job.config.classifier.parent.name if job.config.classifier else None,
            )
            for name, side_px in places or [(ALONE, None)]
        ]
    return cells


def budget(jobs: Sequence[SystemJob], designs: Sequence[Job] = ()) -> list[str]:
    """Return in words what each system was given, what the designs beside, and what is selected.

    Args:
        jobs: The cells of systems.
        designs: Cells of reward designs.

    Raises:
        CacheError: If the cache of the designs cannot be opened.
    """
    trials: dict[str, str] = {}
    labels: dict[str, set[str]] = {}
    for job in jobs:
        labels.setdefault(job.system.name, set()).add(job.label)
    for job in jobs:
        system, n_settings = job.system, len(labels[job.system.name])
        settings = _times(n_settings, "setting")
        if system.learns:
            trials[system.name] = f"{settings} {system.training_budget()}"
    alike: dict[str, list[str]] = {}
    for name, what in trials.items():
        alike.setdefault(what, []).append(name)
    trials_text = "; ".join(f"{what}: {', '.join(names)}" for what, names in alike.items())
    sentence = (
        f"The budget of systems that learn, for every seed: {trials_text}. Each setting has a row "
        "of its own: none was selected by what it did in the test videos. A training by gradient "
        "keeps the epoch that is best in the validation videos, if its system does not say "
        "otherwise, and one in an environment its last weights."
    )
    return ([sentence] if trials else []) + (_budget_of_designs(designs) if jobs else [])


def _budget_of_designs(designs: Sequence[Job]) -> list[str]:
    """Return in words what each training of the reward designs was given."""
    if not designs:
        return []
    first, names = designs[0], dict.fromkeys(job.design for job in designs)
    cache = FeatureCache.open(first.group.cache, first.group.name)
    epochs = first.config.policy.epochs
    decisions = epochs * len(cache.split("train")) * cache.steps
    return [
        f"{', '.join(names)}: {_times(epochs, 'epoch')}, {decisions:,} decisions for each "
        f"training and seed, at a learning rate of {first.config.policy.lr:g}. That need not be "
        "what systems have."
    ]


def _times(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"


def approximations(jobs: Sequence[SystemJob]) -> list[str]:
    """Return in words what figures of systems do not say, and what to do about it."""
    systems = dict.fromkeys((job.system.name, job.system.note) for job in jobs)
    notes = [f"{name}: {note}." for name, note in systems if note]
    notes += [
        f"{system.name}: the cache has no encoders with {system.of_encoders.part!r} in their "
        f"names, which make it what it is: it read {', '.join(groups)}."
        for system, groups, cache in _read(jobs)
        if system.of_encoders != ANY and not own_groups(system, cache)
    ]
    names = dict.fromkeys(
        job.system.name for job in jobs if job.system.approximate and not job.system.note
    )
    if not names:
        return notes
    return [
        *notes,
        f"Approximate: what {', '.join(names)} looked at was interpolated between the features of "
        "the cache. `focusgym evaluate RUN --pixels`, of a run in cells, measures it.",
    ]


def _read(jobs: Sequence[SystemJob]) -> list[tuple[System, tuple[str, ...], Path]]:
    """Return each system once, with the option groups and the cache that it reads."""
    by_name = {
        job.system.name: (job.system, tuple(job.config.group), job.config.cache) for job in jobs
    }
    return [*by_name.values()]


def _sizes(system: System, config: CompareConfig) -> LearnerConfig:
    """Return the sizes of a system's policy: those of π, as far as it has such."""
    policy = config.policy
    sizes = {"conv_channels": policy.conv_channels, "hidden": policy.hidden}
    sizes_set = [
        f"{name}: {size}"
        for name, size in sizes.items()
        if size is not None and name in system.sizes_by_name
    ]
    return LearnerConfig(learner=f"{{{', '.join(sizes_set)}}}") if sizes_set else LearnerConfig()


def _cache_of(system: System, config: CompareConfig) -> Path:
    """Return the cache that a system reads."""
    if config.clips_cache is not None and system.of_encoders.of_clips:
        return config.clips_cache
    return config.cache


def _check_clips(cache: Path, clips: Path) -> None:
    """Refuse a cache of clips whose rows could not stand beside the others."""
    for split in SPLITS:
        of_both = [SplitVideos.of_cache(root, split) for root in (cache, clips)]
        if difference := of_both[0].difference(of_both[1]):
            raise UsageError(
                f"--clips-cache {clips}: expected the {split} videos of {cache}; got {difference}: "
                "build it of the same lists"
            )


def _check_names(systems: Mapping[str, System]) -> None:
    """Refuse two systems of one name, whose runs would be in the same folders."""
    places: dict[str, list[str]] = {}
    for place, system in systems.items():
        places.setdefault(slug(system.name), []).append(place)
    for name, several in places.items():
        if len(several) > 1:
            raise UsageError(
                f"--systems: {' and '.join(several)} are both named {name}: give one of them, or "
                "change the name of one's recipe"
            )


def _exists(path: Path | None) -> bool:
    return path is not None and path.exists()


def _train_classifier(job: SystemJob, config: CompareConfig) -> None:
    f_c, kind = job.config.classifier, job.system.classifier
    assert f_c is not None
    train_f_c(
        f_c,
        job.config.cache,
        job.config.group,
        config,
        kind,
        skip_rate=kind.skip_rate,
        seed=job.config.seed,
    )


def _train_cell(job: SystemJob) -> None:
    out = job.config.out
    run_system(replace(job.config, resume=is_run(out)), files={_RECIPE: _recipe(job)})


def check_recipes(jobs: Sequence[SystemJob]) -> None:
    """Refuse cells of other recipes than those of today, finished or not.

    Raises:
        OutputError: If the recipe of one was changed since it was begun, or cannot be read.
    """
    for job in jobs:
        if is_run(job.config.out):
            _check_recipe(job)


def _check_recipe(job: SystemJob) -> None:
    out = job.config.out
    try:
        trained = read_limited(out / _RECIPE, MOST_JSON_BYTES).decode()
    except (OSError, ValueError) as error:
        raise OutputError(
            f"{out / _RECIPE} is damaged ({in_words(error)}): put it back, or remove {out}, which "
            "is then trained again"
        ) from error
    if trained != _recipe(job):
        raise OutputError(
            f"{out} was trained by another recipe of {job.system.name} than that of today "
            f"({_RECIPE} in it says which): put that back, or remove this folder and those of its "
            "other settings and seeds, which are then trained again"
        )


def _recipe(job: SystemJob) -> str:
    """Return what a system is at a setting, but for its code, as JSON."""
    system = job.system
    recipe = {each.name: getattr(system, each.name) for each in fields(system)}
    recipe["settings"] = setting_of(system, job.config.method)
    return json.dumps(recipe, indent=2, default=_plain, sort_keys=True)


def _plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        content = {each.name: getattr(value, each.name) for each in fields(value)}
        return {"class": type(value).__name__, **content}
    return dict(value) if isinstance(value, Mapping) else getattr(value, "__qualname__", None)
