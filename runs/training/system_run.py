"""A run that trains a system on a cache, or only measures it, on the test videos."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from math import isnan
from pathlib import Path
from typing import Any

from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from ...agents import (
    DirectSystem,
    FixedSystem,
    LearnedSystem,
    System,
    SystemModel,
    TaskTrace,
    make_system,
    trace_task,
    train_system,
)
from ...agents.checkpoints.on_policy import check_kept
from ...agents.systems.gradient import GradientSystem
from ...agents.systems.training import table_of
from ...envs import EnvConfig, FeatureSource, open_source
from ...recognizer import BundleError, Policy, read_bundle, restore, torch_threads, weights_digest
from ...recognizer.files.atomic import whole_file, write_whole
from ..configs.train import TrainConfig
from ..evaluation.plug_back import recognizer_of
from ..evaluation.system_runs import MODEL, RECOGNIZER
from ..evaluation.systems import played_of, system_results
from ..evaluation.trained import TRAINED
from ..folders.atomic import output_folder
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
from ..options.parse import UsageError, usage
from ..options.systems import (
    check_kind,
    check_other_options,
    fit_command,
    groups_of_system,
    keywords_of,
    setting_of,
    system_of,
)
from .policy_run import (
    CHECKPOINT,
    MAY_CHANGE,
    PLAYED,
    classifier_of,
    learning_curve,
    new_logs,
    read_results,
)

_FIT = "fit classifier"


def run_system(config: TrainConfig, checkpoint_s: float = 60.0) -> dict[str, Any]:
    """Train into the run's folder; a run that is finished is left as it is.

    Args:
        config: Of the verb.
        checkpoint_s: Least time between two checkpoints, seconds.

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
        system_model = _make(system, config, source)  # refused before a file is written
        how: Any = {"resume": config.resume, "may_change": MAY_CHANGE}
        with run_folder(out, "train", config, fingerprints, device=str(cache.device), **how):
            if not (out / RESULTS).is_file():
                trace = _play(system, config, source, system_model, checkpoint_s)
                _write(system, config, trace, source, system_model)
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


def _make(system: System, config: TrainConfig, source: FeatureSource) -> SystemModel | None:
    """Make the model of a system that learns; check the setting of another."""
    cache = source.cache
    if isinstance(system, DirectSystem):
        with usage():
            system.check_setting(cache.steps, setting_of(system, config.method))
        return None
    assert isinstance(system, LearnedSystem)
    keywords = keywords_of(system, config.method, table_of(source))
    files = {
        "cache": config.cache,
        "classifier": config.classifier,
        "group": tuple(each.group.name for each in cache.opened),
    }
    with usage():
        system_model = make_system(
            system, files, keywords, cache.steps, config.seed, device_of(config.device)
        )
    if isinstance(system_model.model, OnPolicyAlgorithm):
        check_kept(system_model.model)
    return system_model


def _play(
    system: System,
    config: TrainConfig,
    source: FeatureSource,
    system_model: SystemModel | None,
    checkpoint_s: float,
) -> TaskTrace:
    """Train what learns, and play the test videos."""
    out = config.out
    if system_model is None:
        assert isinstance(system, DirectSystem)
        setting = setting_of(system, config.method)
        read = system.reader(source, setting, config.seed, out / TRAINED)
        if isinstance(system, GradientSystem):
            _plug_back(system, source, out)
        elif isinstance(system, FixedSystem) and system.reads_everything(setting):
            _write_recognizer(source, None, out)
        return read(source, source.cache.split("test"))
    train_system(system_model, out / CHECKPOINT, checkpoint_s, new_logs(out))
    with whole_file(out / MODEL) as beside, beside.open("wb") as file:
        system_model.model.save(file)
    return trace_task(
        system_model.model, system_model.env_id, split="test", **system_model.keywords
    )


def _plug_back(system: GradientSystem[Any], source: FeatureSource, out: Path) -> None:
    """Write the recognizer of a policy that names a place in each segment, for any video."""
    cache = source.cache
    policy = restore(out / TRAINED, read_bundle(out / TRAINED, "policy"), system.build)
    # A stream is given one segment at a time, and a place for all of them is named at once.
    if isinstance(policy, Policy) and (policy.config.network != "clip" or cache.steps == 1):
        _write_recognizer(source, policy, out)


def _write_recognizer(source: FeatureSource, policy: Policy | None, out: Path) -> None:
    """Write a recognizer; without a policy it looks at the only option, the whole frame."""
    cache = source.cache
    try:
        encoders = cache.encoders()
    except BundleError as error:  # the run needs none
        print(f"focusgym: no recognizer is written: {error}", file=sys.stderr)
        return
    recognizer = recognizer_of(cache, encoders, source.classifier, policy)
    with output_folder(out / RECOGNIZER, replace=True) as folder:
        recognizer.save(folder, cache.fingerprint)


def _write(
    system: System,
    config: TrainConfig,
    trace: TaskTrace,
    source: FeatureSource,
    system_model: SystemModel | None,
) -> None:
    out, cache = config.out, source.cache
    played_of(trace, cache).write(out / PLAYED)
    results = system_results(out.resolve().name, trace, cache) | {"system": system.name}
    if config.method.price_per_gmac is None:
        results["setting"] = setting_of(system, config.method)
    if isinstance(system, LearnedSystem):
        returns = learning_curve(out)["mean_return"].tolist()
        results["mean_returns"] = [None if isnan(each) else each for each in returns]
    if system_model is not None:
        results["environment"] = environment_of(system_model)
    write_whole(out / RESULTS, json.dumps(results, indent=2))


def environment_of(system_model: SystemModel) -> dict[str, Any]:
    """Return what a model decides in, besides files, and what loads it; JSON-able."""
    files = ("cache", "classifier", "group", "device")
    keywords = {name: value for name, value in system_model.keywords.items() if name not in files}
    return {
        "id": system_model.env_id,
        "algorithm": system_model.learner.algorithm,
        "keywords": keywords,
    }
