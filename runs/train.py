"""The verb ``train``: a policy, trained with PPO on a cache, measured on the test videos."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from ..agents import LearnedAgent, train_policy, write_policy
from ..envs import FeatureSource, FocusEngine
from ..feature_cache import FeatureCache
from ..recognizer import policy_gmacs, read_classifier, torch_threads, weights_digest
from .configs.train import TrainConfig
from .measures import all_labels, gmacs_of, measures, print_measures
from .options import UsageError, check_seed, reward_of, tell
from .played import play
from .ppo_options import ppo_config
from .run_folder import RESULTS, begin_run, check_new, write_whole
from .steps import OutputError

POLICY, PLAYED, CHECKPOINT, LOGS = "policy", "played.npz", "checkpoint.safetensors", "logs"


def train(config: TrainConfig) -> dict[str, Any]:
    """Train into the run's folder and print what came of it.

    Returns:
        The content of ``results.json``.

    Raises:
        UsageError: If options are wrong or do not go together.
        OutputError: If something is in the way, or there is nothing to go on with.
        CacheError: If the cache cannot be opened.
        BundleError: If the classifier cannot be read or belongs to another cache.
        CheckpointError: If an interrupted training cannot go on.
    """
    results = run_training(config)
    if config.json:
        tell(json.dumps(results))
    else:
        print_measures([results["test"]])
        tell(
            f"{config.out} holds the policy bundle, logs (tensorboard --logdir {config.out}/logs) "
            f"and results.json\nnext: focusgym replay outputs/replay --policy {config.out}"
        )
    return results


def run_training(config: TrainConfig, checkpoint_s: float = 60.0) -> dict[str, Any]:
    """Train into the run's folder; a run that is finished is left as it is.

    Args:
        config: Of the verb.
        checkpoint_s: Least time between two checkpoints, seconds.

    Returns:
        The content of ``results.json``: how the policy does on the test videos, the mean return of
        each rollout, seconds.

    Raises:
        UsageError, OutputError, CacheError, BundleError, CheckpointError: As `train`.
    """
    if not config.resume:
        check_new(config.out)
    check_seed(config.seed)
    settings = ppo_config(config.policy, config.skip, reward_of(config.reward))
    config = replace(config, cache=config.cache.resolve(), classifier=config.classifier.resolve())
    cache = FeatureCache.open(config.cache, config.group)
    for split in ("train", "test"):
        if not len(cache.split(split)):
            raise UsageError(f"{config.cache} has no videos in the split {split}: build it anew")
    classifier = read_classifier(config.classifier, cache.fingerprint)
    fingerprints = {"cache": cache.fingerprint, "classifier": weights_digest(classifier)}
    out = config.out
    begin_run(out, "train", config, fingerprints, resume=config.resume)
    if (out / RESULTS).is_file():
        finished: dict[str, Any] = json.loads((out / RESULTS).read_text())
        return finished
    logs = out / LOGS / f"{len(list((out / LOGS).glob('*'))) + 1}"
    with torch_threads(config.policy.threads):
        policy, returns = train_policy(
            config.cache,
            config.classifier,
            settings,
            config.seed,
            config.group,
            checkpoint=out / CHECKPOINT,
            checkpoint_s=checkpoint_s,
            logs=logs,
        )
        engine = FocusEngine(FeatureSource(cache, classifier))
        cost = replace(engine.source.frame_cost, policy_gmacs=policy_gmacs(policy))
        played, logits = play(engine, LearnedAgent(policy), cache.split("test"), cost)
    row = measures(out.name, logits, all_labels(cache, cache.split("test")), played.looked)
    row |= gmacs_of(played)
    write_policy(out / POLICY, policy, cache, {"test_accuracy": row["accuracy"]})
    played.write(out / PLAYED)
    results = {"test": row, "threshold": policy.config.threshold, "mean_returns": returns}
    write_whole(out / RESULTS, json.dumps(results, indent=2))
    return results


def learning_curve(out: Path) -> pd.DataFrame:
    """Return the learning curve of a run, a row per rollout.

    It has ``steps``, decisions so far; ``mean_return``; ``correct``, the share of the training
    episodes that end right; ``gmacs``, their mean cost. A resumed run repeats rows bit for bit.

    Raises:
        OutputError: If the run has no logs.
    """
    files = sorted((out / LOGS).glob("*/progress.csv"), key=lambda path: int(path.parent.name))
    if not files:
        raise OutputError(f"{out} has no logs: train it again")
    columns = {
        "time/total_timesteps": "steps",
        "rollout/ep_rew_mean": "mean_return",
        "rollout/correct": "correct",
        "rollout/gmacs": "gmacs",
    }
    read = [pd.read_csv(path) for path in files if path.stat().st_size]
    rows = pd.concat([part[list(columns)].rename(columns=columns) for part in read])
    return rows.drop_duplicates("steps", keep="last").sort_values("steps", ignore_index=True)
