"""A run that trains a policy with PPO on a cache, and measures it on the test videos."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ...agents import FocusPPO, LearnedAgent, PPOConfig, write_policy
from ...agents.train import make_model, train_model, trained_penalty
from ...envs import FocusEngine, open_source
from ...feature_cache import FeatureCache
from ...recognizer import in_words, policy_gmacs, read_classifier, torch_threads, weights_digest
from ...recognizer.files.atomic import write_whole
from ...recognizer.files.documents import read_json
from ...recognizer.files.regular import read_limited
from ...recognizer.limits import MOST_TEXT_BYTES
from ..configs.train import TrainConfig
from ..evaluation.measures import gmacs_of, measures
from ..evaluation.trace import all_labels, play
from ..folders.atomic import OutputError
from ..folders.run_folder import RESULTS, check_new, check_settings, run_folder, stored_settings
from ..options.devices import device_of
from ..options.parse import UsageError, reward_of, usage
from ..options.ppo import ppo_config, sized

# Where these are may change: their content is compared.
MAY_CHANGE = ("cache", "classifier")
POLICY, PLAYED, CHECKPOINT, LOGS = "policy", "played.npz", "checkpoint.safetensors", "logs"


def run_training(config: TrainConfig, checkpoint_s: float = 60.0) -> dict[str, Any]:
    """Train into the run's folder; a run that is finished is left as it is.

    Args:
        config: Options of the verb ``train``.
        checkpoint_s: Least time between two checkpoints, seconds.

    Returns:
        The content of ``results.json``: how the policy does on the test videos, ρ of AdaFocus+, the
        mean return of each rollout.

    Raises:
        UsageError, OutputError, CacheError, BundleError, CheckpointError: As the verb ``train``.
    """
    out, f_c = config.out, classifier_of(config)
    config = replace(config, cache=config.cache.resolve(), classifier=f_c)
    if config.resume:
        stored_settings(out, "train")  # refused where there is no run, before f_C is read
        config = with_sizes(config)
        check_settings(out, "train", config, MAY_CHANGE)
        if (out / RESULTS).is_file():
            return read_results(out)
    else:
        check_new(out)
    device = device_of(config.device)
    settings = ppo_config(config.policy, config.skip, reward_of(config.reward))
    group = group_of(config)
    cache = FeatureCache.open(config.cache, group)
    if cache.n_options < 2:
        raise UsageError(
            "AdaFocus learns at which of several places to look; the option group of "
            f"{config.cache} that was opened has one: give a --group of patches, or --system for a "
            "method that reads whole frames"
        )
    for split in ("train", "test", *(("val",) if config.policy.validations else ())):
        cache.split(split)  # refused where it is empty
    if not f_c.exists():
        raise UsageError(
            f"there is no classifier in {f_c}: give --classifier, or train one: `focusgym fit "
            f"classifier {f_c} --cache {config.cache}`"
        )
    classifier = read_classifier(f_c, cache.fingerprint, cache.root)
    if config.policy != (sizes := with_sizes(config).policy):
        config = replace(config, policy=sizes)
        settings = ppo_config(config.policy, config.skip, reward_of(config.reward))
        print(
            f"focusgym: --hidden {sizes.hidden} --conv-channels {sizes.conv_channels}, which goes "
            "with the width of f_C; these options, or a --preset, say otherwise",
            file=sys.stderr,
        )
    fingerprints = {"cache": cache.fingerprint, "classifier": weights_digest(classifier)}
    with torch_threads(config.policy.threads):
        with usage():  # what the environments and the networks refuse, before a file is written
            model = make_model(config.cache, f_c, settings, config.seed, group, device)
        how: Any = {"resume": config.resume, "may_change": MAY_CHANGE, "device": device}
        with run_folder(out, "train", config, fingerprints, **how):
            if not (out / RESULTS).is_file():
                _train(config, settings, model, cache, checkpoint_s)
            return read_results(out)


def classifier_of(config: TrainConfig) -> Path:
    """Return where f_C is: the one that was given, or ``classifier`` beside the cache."""
    if config.classifier is not None:
        return config.classifier.resolve()
    return Path(os.path.abspath(config.cache)).parent / "classifier"


def group_of(config: TrainConfig) -> str | None:
    """Return the option group of AdaFocus; None where none was given.

    Raises:
        UsageError: If several were.
    """
    if len(config.group) > 1:
        raise UsageError(
            f"--group: AdaFocus looks at the patches of one group, got {' '.join(config.group)}: "
            "give one of them, or --system for a method that reads several"
        )
    return next(iter(config.group), None)


def with_sizes(config: TrainConfig) -> TrainConfig:
    """Return a training with sizes of π: where they are not given, those that go with f_C.

    Raises:
        BundleError: If f_C is needed for that, and cannot be read.
    """
    policy = config.policy
    if policy.hidden is not None and policy.conv_channels is not None:
        return config
    f_c = read_classifier(classifier_of(config))
    return replace(config, policy=sized(policy, f_c))


def _train(
    config: TrainConfig,
    settings: PPOConfig,
    model: FocusPPO,
    cache: FeatureCache,
    checkpoint_s: float,
) -> None:
    out = config.out
    source = open_source(model.players[0].config)
    policy, returns = train_model(
        model, settings, config.seed, out / CHECKPOINT, checkpoint_s, new_logs(out)
    )
    engine = FocusEngine(source)
    cost = replace(engine.source.frame_cost, policy_gmacs=policy_gmacs(policy))
    videos = cache.split("test")
    played, logits = play(engine, LearnedAgent(policy), videos, cost)
    row = measures(out.resolve().name, logits, all_labels(cache, videos), played.attended)
    row |= gmacs_of(played)
    metrics = {"test_accuracy": row["accuracy"]}
    write_policy(out / POLICY, policy, cache, metrics, trained_penalty(model))
    played.write(out / PLAYED)
    results = {"test": row, "threshold": policy.config.threshold, "mean_returns": returns}
    write_whole(out / RESULTS, json.dumps(results, indent=2))


def read_results(out: Path) -> dict[str, Any]:
    """Return the content of a run's ``results.json``.

    Raises:
        OutputError: If it is damaged.
    """
    try:
        results: dict[str, Any] = read_json(out / RESULTS)
        if not isinstance(results, dict):
            raise ValueError("it is no object")
        return results
    except (OSError, ValueError) as error:
        raise damaged_results(out, error) from error


def damaged_results(out: Path, error: Exception) -> OutputError:
    """Return the error of a run whose ``results.json`` does not say what it has to."""
    return OutputError(
        f"{out / RESULTS} is damaged ({in_words(error)}): remove it, and `focusgym train {out} "
        "--resume` writes it again"
    )


def new_logs(out: Path) -> Path:
    """Return the folder for the logs of a training that begins, or goes on: a new number."""
    numbers = [int(path.name) for path in (out / LOGS).glob("*") if _is_number(path.name)]
    return out / LOGS / f"{max(numbers, default=0) + 1}"


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdecimal()  # ² is a digit, and none that int takes


def learning_curve(out: Path) -> pd.DataFrame:
    """Return the learning curve of a run, a row per rollout; see `TrainingLog` of long ones.

    It has ``steps``, decisions so far; ``mean_return``; ``correct``, the share of the training
    episodes that end right; ``gmacs``, their mean cost; NaN as long as no episode has ended. A
    resumed run repeats rows bit for bit.

    Raises:
        OutputError: If the run has no logs, or they are damaged.
    """
    parts = [path for path in (out / LOGS).glob("*/progress.csv") if _is_number(path.parent.name)]
    files = sorted(parts, key=lambda path: int(path.parent.name))
    # A line that a killed process began has no end.
    read = []
    for path in files:
        try:
            content = read_limited(path, MOST_TEXT_BYTES)
            if lines := content[: content.rfind(b"\n") + 1]:
                read.append(_progress(lines))
        except (OSError, ValueError) as error:
            raise OutputError(
                f"{path} is damaged ({in_words(error)}): put it back, or train {out} again"
            ) from error
    if not read:
        raise OutputError(f"{out} has no logs: train it again")
    return (
        pd.concat(read)
        .drop_duplicates("steps", keep="last")
        .sort_values("steps", ignore_index=True)
    )


def _progress(lines: bytes) -> pd.DataFrame:
    """Return the columns of a log that a learning curve has; ValueError if it is none."""
    columns = {
        "time/total_timesteps": "steps",
        "rollout/ep_rew_mean": "mean_return",
        "rollout/correct": "correct",
        "rollout/gmacs": "gmacs",
    }
    curve = pd.read_csv(BytesIO(lines)).reindex(columns=list(columns)).rename(columns=columns)
    curve = curve.astype(np.float64)
    if not ((curve["steps"] >= 0) & (curve["steps"] < 2**53)).all() or np.isinf(curve).any(
        axis=None
    ):
        raise ValueError("it has numbers that no training tells")
    return curve.astype({"steps": np.int64})
