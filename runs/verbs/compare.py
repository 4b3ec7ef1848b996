"""The verb ``compare``: reward designs, patch sizes and seeds beside each other, with intervals."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ...feature_cache import read_manifest
from ...recognizer.files.atomic import write_whole
from ..comparison.cells import STATIC
from ..comparison.end_to_end import EndToEndRuns, SplitVideos
from ..comparison.finished import cells_of_runs
from ..comparison.grid import (
    cells_of,
    fixed_cells,
    groups_of,
    jobs_of,
    make_groups,
    rows_of,
    run_jobs,
)
from ..comparison.page import comparison_page
from ..comparison.stage_three import fine_tune, tuned_cells, tuned_jobs, tuned_rows
from ..comparison.static import run_static, static_cells, static_jobs
from ..comparison.summary import Cell, print_comparison, rows_of_cells, summarise, table
from ..comparison.systems import (
    ALL,
    approximations,
    budget,
    check_recipes,
    every_system,
    run_systems,
    system_cells,
    system_jobs,
    system_rows,
)
from ..comparison.times import check_times, time_runs
from ..configs.compare import CompareConfig
from ..executors import executor_of
from ..folders.atomic import OutputError, check_free
from ..folders.run_folder import RESULTS, check_settings, is_run, run_folder, stored_settings
from ..options.console import PlainConsole
from ..options.devices import device_of
from ..options.parse import UsageError, print_line, reward_label, reward_of
from ..options.ppo import ppo_config
from ..options.presets import resolved

ADAFOCUS = "adafocus"  # among systems: the reward designs, which are rows without it too

# A comparison grows: what is trained already is not trained again. Of the cache the content is
# compared, not the place.
_SETS = ("patch", "reward", "keep-ratios", "runs", "systems", "end-to-end", "variants")
_GROWS = (*_SETS, "seeds", "plus", "oracle", "reference", "jobs", "cache", "clips-cache", "time")


def compare(config: CompareConfig) -> dict[str, Any]:
    """Train what is missing, and write the table and the page.

    Returns:
        The summary, which is in ``results.json``.

    Raises:
        UsageError: If options are wrong or do not go together, or runs that were trained end to end
            are of other videos.
        OutputError: If something is in the way, or the comparison was begun with other settings.
        FailedError: If trainings failed; the others are kept.
        ExecutorError: If there is nothing to train them on.
        CacheError, BundleError, VideoError: As the verbs that it is made of.
        ComparisonError: If runs cannot stand beside each other.
    """
    _check(config)
    device = device_of(config.device)
    config = replace(
        config,
        cache=config.cache.resolve(),
        runs=tuple(run.resolve() for run in config.runs),
        systems=tuple(name for name in _systems(config) if name != ADAFOCUS),
        clips_cache=None if config.clips_cache is None else config.clips_cache.resolve(),
        end_to_end=tuple(run.resolve() for run in config.end_to_end),
    )
    check_times(config)
    left_out: list[str] = []
    if ALL in config.systems:
        served, left_out = every_system(config)
        requested = (each for each in config.systems if each != ALL)
        config = replace(config, systems=tuple(dict.fromkeys([*requested, *served])))
    if is_run(config.out):
        _check_grows(config)
    else:
        check_free(config.out)
    beside = EndToEndRuns.find(config.end_to_end, config.videos_root, device)
    if config.runs or not (config.reward or config.systems):
        cells = cells_of_runs(config.runs, config.keep_ratios, device)
        rows_of_cells(cells)  # before a file is written: it may refuse
        reference = _reference(config, [*(cell.label for cell in cells), *beside.names])
        beside.check(_split_videos(cells))
        with run_folder(
            config.out, "compare", config, {}, resume=None, may_change=_GROWS, device=device
        ):
            summary = _summarise(config, cells, beside, reference, [])
    else:
        groups = groups_of(config)
        jobs, systems = jobs_of(config, groups), system_jobs(config)
        tuned, static = tuned_jobs(jobs, config), static_jobs(jobs, systems, config)
        rows = [*rows_of(jobs, config), *tuned_rows(tuned), *system_rows(systems)]
        rows += dict.fromkeys(beside.names)  # one of a name has several seeds
        taken = [*rows, STATIC]
        if twice := sorted({row for row in taken if taken.count(row) > 1}):
            raise UsageError(
                f"two rows would be called {twice[0]}: rename the design, system or run of yours "
                "that has the name of another row"
            )
        reference = _reference(config, rows)
        if config.end_to_end:
            beside.check(SplitVideos.of_cache(config.cache))
        data = read_manifest(config.cache)["fingerprints"]
        if config.clips_cache is not None:
            clips = read_manifest(config.clips_cache)["fingerprints"]
            data |= {f"clips {name}": value for name, value in clips.items()}
        with run_folder(
            config.out, "compare", config, data, resume=None, may_change=_GROWS, device=device
        ):
            check_recipes(systems)
            where = executor_of(config.where, device, config.out, config.jobs, trust=config.trust)
            with where as do:
                make_groups(groups, config, do)
                run_jobs(jobs, config, do)
                fine_tune(tuned, config, do)
                run_systems(systems, config, do)
                run_static(static, config, do)
            first = [(job.config.out, job.keep_ratios) for job in jobs if not job.config.seed]
            first += [(job.config.out, ()) for job in systems if not job.config.seed]
            time_runs(first, config.time, config.videos_root)
            cells = [
                *cells_of(jobs),
                *tuned_cells(tuned),
                *fixed_cells(groups, config, device),
            ]
            cells += system_cells(systems, groups)
            notes = budget(systems, jobs) + approximations(systems) + left_out
            if jobs and systems:
                notes += [
                    "Systems have an f_C of their own kind, the encoders of what they read, and "
                    "other costs. So a difference to the reference is not that of one choice "
                    "alone: look at equal cost, on the plane."
                ]
            alike = static_cells(static)
            tested = SplitVideos.of_cache(config.cache)
            for each in (*cells, *alike):
                tested.check(each.played, f"{each.label} on {each.group}, seed {each.seed}")
            summary = _summarise(config, cells, beside, reference, notes, alike)
    if config.json:
        print_line(json.dumps(summary))
    else:
        print_comparison(summary, PlainConsole())
        print_line(f"{config.out}/index.html has the plots, results.csv the table")
    return summary


def _systems(config: CompareConfig) -> list[str]:
    """Return the names of systems that are asked for, which commas may part."""
    return [name for each in config.systems for name in each.split(",") if name]


def _check_grows(config: CompareConfig) -> None:
    """Refuse to leave out what the table that is there has.

    Raises:
        OutputError: If something would be gone.
    """
    check_settings(config.out, "compare", config, _GROWS)
    stored, current = stored_settings(config.out, "compare"), resolved(config)
    sets = _SETS if stored["plus"] else [name for name in _SETS if name != "keep-ratios"]
    gone = [
        f"{each}" for name in sets for each in stored.get(name) or () if each not in current[name]
    ]
    if stored["seeds"] > current["seeds"]:
        gone.append(f"seeds {current['seeds']} to {stored['seeds'] - 1}")
    if stored["plus"] and not current["plus"]:
        gone.append("AdaFocus+")
    if stored.get("oracle") and not current["oracle"]:
        gone.append("the oracle")
    if stored["variants"] and stored["reward"][0] != current["reward"][0]:
        gone.append(f"variants of {stored['reward'][0]}, which came first")
    if gone and (config.out / RESULTS).is_file():
        raise OutputError(
            f"{config.out} compares more than is asked for now ({', '.join(gone)}): a comparison "
            "only grows; ask for that too, or give another folder"
        )


def _reference(config: CompareConfig, rows: Sequence[str]) -> str:
    """Return the label of the row that the others are compared with."""
    if config.reference is None:
        return rows[0]
    for label in (config.reference, _label(config.reference)):
        if label in rows:
            return label
    raise UsageError(
        f"--reference {config.reference}: no such row; choose one of "
        f"{', '.join(dict.fromkeys(rows))}"
    )


def _label(reference: str) -> str:
    """Return the label of a design that is given as on the command line."""
    try:
        return reward_label(reference)
    except UsageError:
        return reference


def _split_videos(cells: Sequence[Cell]) -> SplitVideos | None:
    """Return the test videos of finished runs; None where there are none."""
    if not cells:
        return None
    played = cells[0].played
    return SplitVideos(played.names, played.labels, f"{cells[0].label} in --runs")


def _summarise(
    config: CompareConfig,
    cells: Sequence[Cell],
    beside: EndToEndRuns,
    reference: str,
    notes: Sequence[str],
    static: Sequence[Cell] = (),
) -> dict[str, Any]:
    """Measure what was trained end to end, and write what comes of all cells."""
    cells = [*cells, *beside.cells(config.out, cells)]
    summary = summarise(cells, reference, static)
    summary["notes"] += [*notes, *beside.notes()]
    _write(config, summary, cells)
    return summary


def _write(config: CompareConfig, summary: dict[str, Any], cells: Sequence[Cell]) -> None:
    write_whole(config.out / "results.csv", table(summary).to_csv(index=False))
    comparison_page(config.out / "index.html", summary, cells, resolved(config))
    write_whole(config.out / RESULTS, json.dumps(summary, indent=2))  # last: all is there


def _check(config: CompareConfig) -> None:
    """Refuse what cannot be trained before anything is written."""
    if not config.reward and not config.systems and not config.end_to_end:
        raise UsageError("--reward: give at least one design")
    if ADAFOCUS in _systems(config) and not config.reward:
        raise UsageError(
            f"--systems {ADAFOCUS}: its rows are those of --reward: give at least one design there"
        )
    if config.systems and config.runs:
        raise UsageError("--systems: --runs compares what is there already: give one of them")
    if config.variants and (config.runs or not config.reward):
        raise UsageError("--variants: of a reward design that is trained: give --reward, no --runs")
    if config.oracle and (config.runs or not config.reward):
        raise UsageError("--oracle: beside designs that are trained: give --reward, no --runs")
    if "no_glance" in config.variants and not config.classifier.fit_reuse_glance:
        raise UsageError(
            "--variants no_glance: with --no-fit-reuse-glance no row reads the glance: leave one"
        )
    for text in config.reward:
        ppo_config(config.policy, config.skip, reward_of(text))
    shares = [f"{share:g}" for share in config.keep_ratios]  # as in names of rows and of files
    if len({*shares}) < len(shares) or (config.skip.plus and not shares):
        raise UsageError(
            f"--keep-ratios: each share once, and with --plus at least one; got {' '.join(shares)}"
        )
