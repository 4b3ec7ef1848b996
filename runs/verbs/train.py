"""The verb ``train``: a policy, trained on a cache, measured on the test videos."""

from __future__ import annotations

import json
from typing import Any

from ..configs.train import LearnerConfig, SystemConfig, TrainConfig
from ..evaluation.measures import print_measures
from ..evaluation.system_runs import RECOGNIZER
from ..options.parse import UsageError, print_line
from ..training.policy_run import run_training
from ..training.system_run import run_system


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
    if config.method.system is None:
        if (config.method, config.learning) != (SystemConfig(), LearnerConfig()):
            raise UsageError(
                "--setting, --price-per-gmac, --decisions, --learner: of systems: give --system as "
                "well, or leave them out"
            )
        results = run_training(config)
        holds = f"the policy bundle, logs (tensorboard --logdir {config.out}/logs) and results.json"
        after = f"\nnext: focusgym replay outputs/replay_{config.out.name} --policy {config.out}"
    else:
        results = run_system(config)
        model = "the model, logs " if "mean_returns" in results else "what it did "
        holds, after = f"{model}and results.json", ""
        if (config.out / RECOGNIZER).is_dir():
            holds = "its recognizer, for any video, what it did and results.json"
            after = f"\nnext: focusgym recognize VIDEO --bundle {config.out / RECOGNIZER}"
    if config.json:
        print_line(json.dumps(results))
    else:
        print_measures([results["test"]])
        if "usage" in results:
            shares = [f"{name} {100 * of:.0f} %" for name, of in results["usage"].items()]
            print_line(f"of the segments of a video it reads {', '.join(shares)}")
        print_line(f"{config.out} holds {holds}{after}")
    return results
