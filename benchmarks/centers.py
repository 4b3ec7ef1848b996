"""A policy that names centres, by gradient, beside FocusPPO, on the cache of a quickstart.

``python benchmarks/centers.py outputs/quickstart`` trains both in turn for each seed on one thread,
and prints CPU seconds and accuracies on the validation videos. The test videos are measured by
``focusgym evaluate RUN --pixels`` on runs of ``focusgym train``.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from focusgym.agents import LearnedAgent
from focusgym.agents.centers import read_centers, train_centers
from focusgym.agents.train import train_policy
from focusgym.envs import EnvConfig, FeatureSource, FocusEngine, open_source
from focusgym.recognizer import FitConfig, PolicyConfig, accuracy_by_step, build_policy
from focusgym.runs.training.recipes import DIGITS

EPOCHS = 12  # FocusPPO has 20


def by_gradient(source: FeatureSource, seed: int) -> tuple[float, float]:
    """Return CPU seconds of a training, and the mean accuracy over steps on val, in percent."""
    height, width, channels = source.cache.map_shape
    torch.manual_seed(seed)
    sizes = PolicyConfig(height, width, channels, 1, 16, 128, network="centers")
    policy = build_policy(sizes)
    how = FitConfig(EPOCHS, 64, {"policy": 1e-3}, optimizer="adamw", schedule="one_cycle")
    start = time.process_time()
    train_centers(source, policy, how, [seed])
    spent = time.process_time() - start
    videos = source.cache.split("val")
    logits = read_centers(source, videos, policy.eval()).logits
    return spent, 100 * float(np.mean(accuracy_by_step(logits, source.cache.labels[videos])))


def by_ppo(folder: Path, source: FeatureSource, seed: int) -> tuple[float, float]:
    """Return the same of FocusPPO, as the preset of the digits trains it."""
    start = time.process_time()
    policy, _ = train_policy(folder / "cache", folder / "classifier", DIGITS.ppo, seed)
    spent = time.process_time() - start
    videos = source.cache.split("val")
    plan = LearnedAgent(policy).plan(FocusEngine(source), videos)
    logits = FocusEngine(source).rollout(videos, plan.options, plan.attended)
    return spent, 100 * float(np.mean(accuracy_by_step(logits, source.cache.labels[videos])))


def main() -> None:
    """Print a line per seed, and the ratio of the times."""
    parser = argparse.ArgumentParser(description="Centres by gradient beside FocusPPO")
    parser.add_argument("quickstart", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    folder = args.quickstart
    source = open_source(EnvConfig(folder / "cache", folder / "classifier"))
    ratios = []
    for seed in range(args.seeds):
        (fast, ours), (slow, theirs) = by_gradient(source, seed), by_ppo(folder, source, seed)
        ratios.append(fast / slow)
        print(
            f"seed {seed}: by gradient {fast:.1f} CPU-s, {ours:.1f} % on val; "
            f"FocusPPO {slow:.1f} CPU-s, {theirs:.1f} %"
        )
    shown = f"{np.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    print(f"CPU time over that of FocusPPO: {shown}, {EPOCHS} epochs and 20")


if __name__ == "__main__":
    main()
