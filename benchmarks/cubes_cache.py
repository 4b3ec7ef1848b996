"""AdaFocusV3 on a cache: cubes named by gradient, beside PPO in Cubes-v0, in one table.

``python benchmarks/cubes_cache.py FOLDER`` reads ``FOLDER/cache``, of patches, and
``FOLDER/classifier``, an f_C of the kind that both systems have, and trains both on one thread:
for 12 frames of a quickstart's digits

    focusgym cache build FOLDER/cache --videos QUICKSTART/data --steps 12 --frame 64 --resize 0 \
      --glance QUICKSTART/encoders/glance --group patches:QUICKSTART/encoders/local:28
    focusgym fit classifier FOLDER/classifier --cache FOLDER/cache --aggregation max_pool \
      --order shuffled --epochs 15 --batch-size 64 --optimizer adamw --lr-classifier 2e-3 \
      --hidden 256 --dropout 0.2

The last columns are the accuracy less that of the gradient's policies at as many cubes, and at as
many GMACs, on straight lines between those with more and with fewer. Networks are so small on the
digits that π counts: nine tenths of a cube by gradient, which runs once, and half of one by PPO,
which runs before every decision.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from focusgym.agents import TaskTrace, make_system, trace_task, train_system
from focusgym.agents.systems.adafocus_v3 import ADAFOCUS_V3, ADAFOCUS_V3_PPO
from focusgym.agents.systems.training import table_of
from focusgym.envs import EnvConfig, FeatureSource, open_source

CUBES = (1, 2, 4, 6)
SIZES = {"conv_channels": 16, "hidden": 128}  # of the policy that is trained by gradient


def row(name: str, seed: int, spent_s: float, trace: TaskTrace) -> dict[str, object]:
    """Return a row of the table: what became of the videos."""
    return {
        "policy": name,
        "seed": seed,
        "accuracy": 100 * trace.correct.mean(),
        "cubes": trace.fed.sum(axis=1).mean(),
        "mgmacs": 1000 * trace.gmacs[:, -1].mean(),
        "cpu_s": spent_s,
    }


def by_gradient(source: FeatureSource, cubes: int, seed: int, split: str) -> dict[str, object]:
    """Train a policy of so many cubes."""
    system = replace(ADAFOCUS_V3, **SIZES)
    start = time.process_time()
    read = system.reader(source, cubes / source.cache.steps, seed)
    spent = time.process_time() - start
    return row(f"gradient, {cubes} cubes", seed, spent, read(source, source.cache.split(split)))


def by_ppo(
    folder: Path, source: FeatureSource, price: float, seed: int, split: str, decisions: int
) -> dict[str, object]:
    """Train PPO at a price."""
    learner = ADAFOCUS_V3_PPO.learner.changed({"decisions": decisions})
    system = replace(ADAFOCUS_V3_PPO, learner=learner)
    keywords = system.environment(table_of(source), price)
    files = {"cache": folder / "cache", "classifier": folder / "classifier"}
    start = time.process_time()
    made = make_system(system, files, keywords, source.cache.steps, seed)
    train_system(made)
    spent = time.process_time() - start
    trace = trace_task(made.model, made.env_id, split=split, **made.keywords)
    return row(f"PPO, price {price:g}", seed, spent, trace)


def with_differences(rows: Sequence[dict[str, object]]) -> pd.DataFrame:
    """Return the table, with what each row has over the gradient's at as many cubes and GMACs."""
    table = pd.DataFrame(rows)
    for by in ("cubes", "mgmacs"):
        for _, of_seed in table.groupby("seed"):
            known = of_seed[of_seed["policy"].str.startswith("gradient")].sort_values(by)
            line = np.interp(of_seed[by], known[by], known["accuracy"])
            table.loc[of_seed.index, f"over, {by}"] = of_seed["accuracy"] - line
    return table


def main() -> None:
    """Print a row per policy and seed, and their means over the seeds."""
    parser = argparse.ArgumentParser(description="AdaFocusV3 on a cache: gradient beside PPO")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--split", default="test")
    parser.add_argument("--prices", type=float, nargs="*", default=ADAFOCUS_V3_PPO.settings)
    parser.add_argument("--decisions", type=int, default=ADAFOCUS_V3_PPO.learner.decisions)
    args = parser.parse_args()
    torch.set_num_threads(1)
    folder, rows = args.folder, []
    source = open_source(EnvConfig(folder / "cache", folder / "classifier"))
    for seed in range(args.seeds):
        for cubes in CUBES:
            rows.append(by_gradient(source, cubes, seed, args.split))
            print(rows[-1], flush=True)
        for price in args.prices:
            rows.append(by_ppo(folder, source, price, seed, args.split, args.decisions))
            print(rows[-1], flush=True)
    table = with_differences(rows)
    print(table.round(3).to_string(index=False))
    means = table.drop(columns="seed").groupby("policy", sort=False).agg(["mean", "min", "max"])
    print(
        means[["accuracy", "cubes", "mgmacs", "over, cubes", "over, mgmacs"]].round(3).to_string()
    )


if __name__ == "__main__":
    main()
