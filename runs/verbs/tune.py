"""The verb ``tune``: the options of a verb that are best on val."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table

from ...feature_cache import read_manifest
from ...recognizer.files.atomic import write_whole
from ...recognizer.files.documents import MOST_YAML_BYTES
from ...recognizer.files.regular import read_limited
from ..configs.tune import TuneConfig
from ..executors import executor_of
from ..executors.local import jobs_here
from ..folders.run_folder import RESULTS, run_folder
from ..options.console import PlainConsole
from ..options.devices import device_of
from ..options.parse import UsageError, print_line
from ..options.presets import CONFIG, PresetError, preset_options
from ..options.space import read_space
from ..training.tuning import RUN, TuningError, best_of, folder_of, search

BEST = "best.yaml"
_SHOWN = 10  # trials in the table


def tune(config: TuneConfig) -> dict[str, Any]:
    """Search, and print the best trials.

    Returns:
        The content of ``results.json``: ``verb``, ``trials`` and the number of the ``best``.

    Raises:
        UsageError: If the space cannot be used.
        CacheError: If the cache that it names cannot be.
        OutputError: If something is in the way, or another search was begun there.
        TuningError, FailedError: As `search`.
    """
    try:
        space = read_space(config.space)
    except PresetError as error:
        raise UsageError(str(error)) from None
    device = device_of(space.device)
    is_local = config.where.executor == "local"
    jobs = config.jobs or jobs_here(device if is_local else "cpu")
    may_change, data = ("trials", "jobs", "space"), {"space": space.fingerprint}
    if (cache := space.option("cache")) is not None:
        data |= {
            f"{cache} {name}": of for name, of in read_manifest(Path(cache))["fingerprints"].items()
        }
    with run_folder(config.out, "tune", config, data, resume=None, may_change=may_change):
        where = executor_of(config.where, device, config.out, jobs, trust=config.trust)
        with where as do:
            trials = search(space, config.out, config.trials, jobs, config.seed, do)
        best = best_of(trials)
        write_whole(config.out / BEST, _preset_of(config.out, best.number, space.verb))
        results = {
            "verb": space.verb,
            "best": best.number,
            "trials": [asdict(each) for each in trials],
        }
        write_whole(config.out / RESULTS, json.dumps(results, indent=2))
    if config.json:
        print_line(json.dumps(results))
        return results
    table = Table("trial", *space.searched, "right on val, %")
    for each in sorted(trials, key=lambda each: -(each.accuracy or 0))[:_SHOWN]:
        right = each.failed or f"{100 * (each.accuracy or 0):.1f}"
        table.add_row(str(each.number), *map(_shown, each.chosen.values()), right)
    PlainConsole().print_whole(table)
    print_line(
        f"{config.out / BEST} is a preset with the best of {len(trials)} trials. It was chosen on "
        "val, whose accuracy therefore flatters it: measure it on test, with other seeds.\n"
        f"next: focusgym {space.verb} OUT --preset {config.out / BEST}"
    )
    return results


def _preset_of(out: Path, number: int, verb: str) -> bytes:
    """Return the options of a trial's run as they were written; refuse what is no preset."""
    path = folder_of(out, number) / RUN / CONFIG
    try:
        preset_options(str(path), verb)
        return read_limited(path, MOST_YAML_BYTES)
    except (PresetError, OSError, ValueError) as error:
        message = str(error).removeprefix("--preset ")
        raise TuningError(
            f"{message}: remove {folder_of(out, number)}, and the same command does it again"
        ) from error


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
