"""The quickstart from nothing, three seeds: how long it takes and what the policy learns."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from rows import row

from focusgym.feature_cache import FeatureCache, cache_samples
from focusgym.recognizer import (
    ClassifierConfig,
    GruClassifier,
    OnFeatures,
    TensorSamples,
    accuracy_by_step,
    fit,
)
from focusgym.runs.training.recipes import adamw

SEEDS = (0, 1, 2)
FIXED = ("random", "central", "gaussian")


def rows(out: Path) -> dict[str, dict[str, float | str]]:
    """Run ``focusgym quickstart`` for three seeds into ``out/quickstart-SEED``."""
    seconds, means, parities, glance_only, skipping = [], [], [], [], []
    for seed in SEEDS:
        folder = out / f"quickstart-{seed}"
        shutil.rmtree(folder, ignore_errors=True)
        command = ["quickstart", "--seed", str(seed), "--out", str(folder)]
        code = "import sys; from focusgym.runs.cli import main; main(sys.argv[1:])"
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code, *command], check=True)
        seconds.append(time.perf_counter() - start)
        results = json.loads((folder / "results.json").read_text())
        means.append({p["name"]: mean_accuracy(p) for p in results["policies"]})
        parities.append(results["parity"])
        last = {p["name"]: 100 * p["accuracy"] for p in results["policies"]}
        skipping.append(last["adafocus_plus"] - last["adafocus"])
        glance_only.append(100 * accuracy_without_patches(folder / "cache", seed))

    best = [max(mean[name] for name in FIXED) for mean in means]
    how = f"focusgym quickstart from nothing, seeds {', '.join(map(str, SEEDS))}"
    accuracy = f"{how}; accuracy averaged over the steps, test split"

    def over(name: str, base: list[float]) -> list[float]:
        return [mean[name] - b for mean, b in zip(means, base, strict=True)]

    learned = [mean["adafocus"] for mean in means]
    gain, possible = over("adafocus", best), over("true_box", best)
    share = [100 * g / p for g, p in zip(gain, possible, strict=True)]
    agree = [100 * parity["prediction_agreement"] for parity in parities]
    apart = [parity["max_abs_confidence_difference"] for parity in parities]
    return {
        "quickstart_seconds": row(seconds, "s", how),
        "quickstart_learned": row(learned, "%", accuracy),
        "quickstart_best_fixed": row(best, "%", f"{accuracy}; best of random, central, Gaussian"),
        "quickstart_gain": row(gain, "points", f"{accuracy}; learned less best fixed"),
        "quickstart_share_of_true_box": row(
            share, "%", f"{accuracy}; gain over the best fixed, as a share of the true box's"
        ),
        "quickstart_finetuned_gain": row(
            over("adafocus_finetuned", learned), "points", f"{accuracy}; stage III less learned"
        ),
        "quickstart_control_gain": row(
            over("random_finetuned", learned), "points", f"{accuracy}; control less learned"
        ),
        "quickstart_plus_less_adafocus": row(
            skipping, "points", f"{how}; AdaFocus+ with η = 0.5 less AdaFocus, after all frames"
        ),
        "quickstart_prediction_agreement": row(agree, "%", f"{how}; pixels against cache"),
        "quickstart_confidence_difference": row(apart, "", f"{how}; largest, pixels against cache"),
        "quickstart_glance_only": row(
            glance_only, "%", "f_C trained on the glance vectors alone; accuracy after all frames"
        ),
    }


def mean_accuracy(policy: dict[str, Any]) -> float:
    """Return the accuracy averaged over the steps, in percent."""
    steps: list[float] = policy["accuracy_by_step"]
    return 100 * sum(steps) / len(steps)


def accuracy_without_patches(path: Path, seed: int) -> float:
    """Return what can be read off the glances: f_C trained and tested with every frame skipped."""
    torch.manual_seed(seed)
    cache = FeatureCache.open(path)
    config = ClassifierConfig(cache.glance_channels, cache.local_channels, cache.n_classes, 128)
    classifier = GruClassifier(config)

    def skipped(split: str) -> TensorSamples:
        def choose(epoch: int, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            options = torch.zeros(len(rows), cache.steps, dtype=torch.int64)
            return options, torch.zeros_like(options, dtype=torch.bool)

        return cache_samples(cache, cache.split(split), choose)

    settings = adamw(20, 64, classifier=3e-3)
    train, val, test = map(skipped, ("train", "val", "test"))
    fit(OnFeatures(classifier), train, val, settings, name="f_C on glances alone", seed=[seed])
    ((glance, local, labels),) = test.batches(0, [torch.arange(test.n)])
    with torch.no_grad():
        return accuracy_by_step(classifier(glance, local), labels)[-1]
