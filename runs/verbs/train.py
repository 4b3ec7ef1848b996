"""The verb ``train``: a policy, trained with PPO on a cache, measured on the test videos."""

from __future__ import annotations

import json
from typing import Any

from ..configs.train import TrainConfig
from ..evaluation.measures import print_measures
from ..options.parse import tell
from ..training.policy_run import run_training


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
            f"and results.json\nnext: focusgym replay outputs/replay_{config.out.name} "
            f"--policy {config.out}"
        )
    return results
