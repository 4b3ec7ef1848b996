"""The verb ``evaluate``: trained policies on a split, beside policies that do not learn."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..configs.evaluate import EvaluateConfig
from ..evaluation.candidate import Candidate, Label, Labels
from ..evaluation.exits import SOLVED_ON
from ..evaluation.measures import print_measures
from ..evaluation.pixel_candidate import PixelCandidate
from ..evaluation.policy_candidate import PolicyCandidate
from ..evaluation.system_candidate import SystemCandidate
from ..executors import executor_of
from ..executors.units import Unit
from ..options.devices import device_of
from ..options.parse import UsageError, print_line

# In the order of the table; the first that serves a path opens it. A new kind is a file, and a
# name here.
KINDS: tuple[type[Candidate], ...] = (SystemCandidate, PixelCandidate, PolicyCandidate)


def evaluate(config: EvaluateConfig) -> dict[str, Any]:
    """Print how policies do.

    Returns:
        ``split``, and ``policies``, a row for each.

    Raises:
        UsageError: If options mean nothing for a policy.
        BundleError: If a bundle cannot be read, or belongs to another cache.
        CacheError: If the cache cannot be opened, or lacks the split.
        VideoError: If with ``pixels`` a video is gone, another one, or cannot be read.
        FailedError: If with another executor than the local one a policy cannot be measured.
    """
    every = [*dict.fromkeys(config.policies)]
    if config.exit_at and config.split == SOLVED_ON:
        raise UsageError(
            f"--exit-at: thresholds are solved on the split {SOLVED_ON}, and --split {SOLVED_ON} "
            "would report what they were made for: choose another --split"
        )
    candidates = _open(every, config)
    if config.where.executor == "local":
        solving = [each.solving(config) for each in candidates]  # before anything that takes long
        pairs = zip(candidates, solving, strict=True)
        parts = [candidate.rows(config, outcomes) for candidate, outcomes in pairs]
    else:
        units = {f"{each.path}": Unit((each.path, each.label, config)) for each in candidates}
        with executor_of(config.where, device_of(config.device), trust=config.trust) as do:
            parts = [*do(_opened_rows, units, "evaluate", 0, "policy").values()]
    rows = [row for part in parts for row in part]
    results = {"split": config.split, "policies": rows}
    if config.json:
        print_line(json.dumps(results))
    else:
        print_measures(rows)
        for row in rows:
            if "parity" in row:
                agree = 100 * row["parity"]["prediction_agreement"]
                print_line(
                    f"{row['name']}: pixels and cache agree in {agree:.2f} % of the predictions"
                )
    return results


def _open(
    paths: Sequence[Path], config: EvaluateConfig, labels: Labels | None = None
) -> list[Candidate]:
    """Open all that is measured, in the order of the table.

    Args:
        paths: Folders or files of what is evaluated.
        config: Options of the verb ``evaluate``.
        labels: Of all rows; if not given, rows of one name are told apart by their folders.

    Raises:
        UsageError, BundleError, CacheError: As `evaluate`.
    """
    kinds = [next(kind for kind in KINDS if kind.serves(path)) for path in paths]
    by_kind = {
        kind: [path for path, each in zip(paths, kinds, strict=True) if each is kind]
        for kind in KINDS
    }
    return [each for kind in KINDS for each in kind.open(by_kind[kind], config, labels)]


def _opened_rows(path: Path, label: Label, config: EvaluateConfig) -> list[dict[str, Any]]:
    """Return the rows of a candidate that is opened where this is called."""
    (candidate,) = _open([path], config, {path: label})
    return candidate.rows(config, candidate.solving(config))
