"""A run that trains a system on a cache, or only measures it, on the test videos."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...agents import (
    System,
    TaskTrace,
)
from ...envs import EnvConfig, FeatureSource, open_source
from ...recognizer import torch_threads, weights_digest
from ...recognizer.files.atomic import write_whole
from ..configs.train import TrainConfig
from ..evaluation.systems import played_of, system_results
from ..folders.run_folder import (
    RESULTS,
    check_new,
    check_settings,
    is_run,
    run_folder,
    stored_settings,
    verb_of,
)
from ..options.devices import device_of
from ..options.parse import UsageError
from ..options.systems import (
    check_kind,
    check_other_options,
    fit_command,
    groups_of_system,
    setting_of,
    system_of,
)
from .policy_run import (
    MAY_CHANGE,
    PLAYED,
    classifier_of,
    read_results,
)
from .system_training import SystemTraining, training_of

_FIT = "fit classifier"


def run_system(
    config: TrainConfig, checkpoint_s: float = 60.0, files: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Train into the run's folder; a run that is finished is left as it is.

    Args:
        config: Options of the verb ``train``.
        checkpoint_s: Least time between two checkpoints, seconds.
        files: Texts of further files that its folder has from the beginning, by name.

    Returns:
        The content of ``results.json``: how the system does on the test videos, what it reads, and
        the mean return at each rollout of a training, None as long as no episode has ended.

    Raises:
        UsageError, OutputError, CacheError, BundleError, CheckpointError: As the verb ``train``.
    """
    out, f_c = config.out, classifier_of(config)
    config = replace(config, cache=config.cache.resolve(), classifier=f_c)
    check_other_options(config)
    system = system_of(config.method, config.learning)
    if config.resume:
        stored_settings(out, "train")  # refused where there is no run
        check_settings(out, "train", config, MAY_CHANGE)
        if (out / RESULTS).is_file():
            return read_results(out)
    else:
        check_new(out)
    source = _source(system, config, f_c)
    cache, classifier = source.cache, source.classifier
    fingerprints = {"cache": cache.fingerprint, "classifier": weights_digest(classifier)}
    with torch_threads(config.policy.threads):
        training = training_of(system, config, source)  # refused before a file is written
        how: Any = {"resume": config.resume, "may_change": MAY_CHANGE, "files": files}
        with run_folder(out, "train", config, fingerprints, device=str(cache.device), **how):
            if not (out / RESULTS).is_file():
                _write(out, config, training.run(checkpoint_s), training)
            return read_results(out)


def _source(system: System, config: TrainConfig, f_c: Path) -> FeatureSource:
    """Open what the system reads, and its f_C."""
    groups = groups_of_system(system, config.cache, config.group)
    if not f_c.exists():
        raise UsageError(
            f"there is no classifier in {f_c}: {fit_command(system, config.cache, groups)}"
        )
    device = device_of(config.device)
    source = open_source(EnvConfig(config.cache, f_c, group=groups, device=device))
    for split in ("train", "test"):
        source.cache.split(split)  # refused where it is empty
    check_kind(system, source.classifier, f_c, config.cache, groups)
    _check_training(system, f_c, config.cache, groups)
    return source


def _check_training(system: System, f_c: Path, cache: Path, groups: Sequence[str]) -> None:
    """Refuse an f_C that `focusgym fit classifier` trained in another way than the system's is.

    Of a bundle that is no run of it, such as one that was imported, this is not known.

    Raises:
        UsageError: If it is, with the command that trains one.
        OutputError: If what it was trained with cannot be read.
    """
    if not is_run(f_c) or verb_of(f_c) != _FIT:
        return
    kind, options = system.classifier, stored_settings(f_c, _FIT)
    trained, expected = (
        f"--order {order} --skip-rate {skip_rate:g}"
        for order, skip_rate in (
            (options["order"], options["skip-rate"]),
            (kind.order, kind.skip_rate),
        )
    )
    if trained != expected:
        raise UsageError(
            f"{f_c} was trained with {trained}, and the f_C of {system.name} with {expected}: "
            + fit_command(system, cache, groups)
        )


def _write(out: Path, config: TrainConfig, trace: TaskTrace, training: SystemTraining) -> None:
    system, cache = training.system, training.source.cache
    played_of(trace, cache).write(out / PLAYED)
    results = system_results(out.resolve().name, trace, cache) | {"system": system.name}
    if config.method.price_per_gmac is None:
        results["setting"] = setting_of(system, config.method)
    results |= training.facts()
    write_whole(out / RESULTS, json.dumps(results, indent=2))
