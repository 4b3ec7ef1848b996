"""Runs that are finished, as cells of a comparison; rows are named by what the runs differ in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...recognizer import read_classifier, weights_digest
from ..evaluation.opened_runs import is_pixel_run
from ..evaluation.trace import play, read_played
from ..evaluation.trained import Trained, at_keep_ratio, find_trained
from ..folders.run_folder import RESULTS, is_run, stored_settings
from ..options.parse import UsageError, reward_label
from ..training.policy_run import PLAYED, learning_curve
from .end_to_end import SplitVideos
from .summary import Cell

# What tells a cell from the others of its row, or where things are.
_NOT_NAMED = ("seed", "group", "cache", "classifier", "threads", "device")


def cells_of_runs(
    runs: Sequence[Path], keep_ratios: Sequence[float], device: str = "cpu"
) -> list[Cell]:
    """Read what runs of ``focusgym train`` did in the test videos.

    Args:
        runs: Their folders.
        keep_ratios: η at which AdaFocus+ is measured.
        device: Where that is computed.

    Raises:
        ComparisonError: If what a run did was not done in the test videos of its cache.
        UsageError: If a run is not finished, or was trained end to end, two are the same, or two of
            one seed on one option group have other features or another f_C.
        OutputError: If a folder is no run of ``focusgym train``.
    """
    for run in runs:
        if is_pixel_run(run):
            raise UsageError(
                f"--runs {run}: was trained end to end: give it to --end-to-end, beside --runs"
            )
        if is_run(run) and not (run / RESULTS).is_file():
            raise UsageError(
                f"--runs {run}: is not finished: `focusgym train {run} --resume` goes on"
            )
    settings = [stored_settings(run, "train") for run in runs]
    trained_runs = [find_trained(run, device=device) for run in runs]
    _check_features(runs, trained_runs, settings)
    names = _names(settings)
    cells: dict[tuple[Any, ...], Cell] = {}
    for run, trained, name, options in zip(runs, trained_runs, names, settings, strict=True):
        group = trained.cache.group
        who = (name, group.name, group.places.side_px, int(options["seed"]))
        if options["plus"] and options["target-gmacs"] is None:
            cells_of_run = [
                Cell(*who, _played(trained, share), "plus", share) for share in keep_ratios
            ]
        else:
            cells_of_run = [Cell(*who, read_played(run / PLAYED), curve=learning_curve(run))]
            SplitVideos.of_opened(trained.cache).check(cells_of_run[0].played, f"--runs {run}")
        for cell in cells_of_run:
            key = (cell.label, cell.group, cell.seed)
            if key in cells:
                raise UsageError(
                    f"--runs {run}: there is already a run with its settings and its seed: give "
                    "each once"
                )
            cells[key] = cell
    return [*cells.values()]


def _check_features(
    runs: Sequence[Path], trained_runs: Sequence[Trained], settings: Sequence[dict[str, Any]]
) -> None:
    """Refuse to pair what differs in more than the policy; f_C may be another for each seed."""
    first: dict[tuple[str, int | None], tuple[Path, str]] = {}
    for run, trained, options in zip(runs, trained_runs, settings, strict=True):
        cache = trained.cache
        classifier = read_classifier(trained.classifier, cache.fingerprint, cache.root)
        seed, name = int(options["seed"]), cache.group.name
        for key, what, template in (
            ((name, None), cache.fingerprint, "other features than {}, on the option group"),
            (
                (name, seed),
                weights_digest(classifier),
                "another f_C than {}, of the same seed, on",
            ),
        ):
            other, expected = first.setdefault(key, (run, what))
            if what != expected:
                raise UsageError(
                    f"--runs {run}: has {template.format(other)} {name}: compare runs with the "
                    "same cache and classifier"
                )


def _names(settings: Sequence[dict[str, Any]]) -> list[str]:
    """Return what each run's options say that others' say otherwise; the reward if all agree."""
    keys = [key for key in dict.fromkeys(k for s in settings for k in s) if key not in _NOT_NAMED]
    differ = [key for key in keys if len({str(each.get(key)) for each in settings}) > 1]
    differ = differ or ["reward"]

    def value(key: str, option_value: Any) -> str:
        return reward_label(option_value) if key == "reward" else f"{key}={option_value}"

    return [", ".join(value(key, each.get(key)) for key in differ) for each in settings]


def _played(trained: Trained, keep_ratio: float) -> Any:
    each = at_keep_ratio(trained, keep_ratio)
    return play(each.engine, each.agent, each.cache.split("test"), each.cost)[0]
