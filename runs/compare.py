"""The verb ``compare``: reward designs, patch sizes and seeds beside each other, with intervals."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from rich.console import Console

from ..feature_cache import read_manifest
from .comparison import Cell, print_comparison, summarise, table
from .comparison_page import comparison_page
from .configs.compare import CompareConfig
from .finished import cells_of_runs
from .grid import cells_of, fixed_cells, jobs_of, make_groups, run_jobs
from .options import UsageError, reward_of, tell
from .ppo_options import ppo_config
from .preset import resolved
from .run_folder import RESULTS, begin_run, is_run, write_whole

# A comparison grows: what is trained already is not trained again.
_GROWS = ("patch", "reward", "seeds", "keep-ratios", "plus", "reference", "jobs", "runs")


def compare(config: CompareConfig) -> dict[str, Any]:
    """Train what is missing, and write the table and the page.

    Returns:
        The summary, which is in ``results.json``.

    Raises:
        UsageError: If options are wrong or do not go together.
        OutputError: If something is in the way, or the comparison was begun with other settings.
        CacheError, BundleError, CheckpointError, VideoError: As the verbs that it is made of.
        ComparisonError: If runs cannot stand beside each other.
    """
    _check(config)
    config = replace(config, cache=config.cache.resolve())
    fingerprints = {} if config.runs else read_manifest(config.cache)["fingerprints"]
    cells = cells_of_runs(config.runs, config.keep_ratios) if config.runs else []
    again = is_run(config.out)
    begin_run(config.out, "compare", config, fingerprints, resume=again, may_change=_GROWS)
    cells = cells or _trained(config)
    reference = config.reference or cells[0].label
    if reference not in {cell.label for cell in cells}:
        known = ", ".join(dict.fromkeys(cell.label for cell in cells))
        raise UsageError(f"--reference {reference}: no such row; choose one of {known}")
    summary = summarise(cells, reference)
    write_whole(config.out / RESULTS, json.dumps(summary, indent=2))
    table(summary).to_csv(config.out / "results.csv", index=False)
    comparison_page(config.out / "index.html", summary, cells, resolved(config))
    if config.json:
        tell(json.dumps(summary))
    else:
        print_comparison(summary, Console(markup=False, highlight=False))
        tell(f"{config.out}/index.html has the plots, results.csv the table")
    return summary


def _check(config: CompareConfig) -> None:
    """Refuse what cannot be trained before anything is written."""
    if config.seeds < 1 or (config.jobs is not None and config.jobs < 1):
        raise UsageError(
            f"--seeds and --jobs must be at least 1; got {config.seeds} and {config.jobs}"
        )
    if not config.reward:
        raise UsageError("--reward: give at least one design")
    for text in config.reward:
        ppo_config(config.policy, config.skip, reward_of(text))
    for share in config.keep_ratios:
        if not 0 < share <= 1:
            raise UsageError(f"--keep-ratios must be shares in (0, 1]; got {share}")


def _trained(config: CompareConfig) -> list[Cell]:
    groups = make_groups(config)
    jobs = jobs_of(config, groups)
    run_jobs(jobs, config)
    return [*cells_of(jobs), *fixed_cells(groups, config.seeds)]
