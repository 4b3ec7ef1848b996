"""What the policies learn on the digits: three seeds, 95 % intervals, on the test split.

The quickstarts of `quickstart.rows` trained AdaFocus and AdaFocus+; here they are compared step by
step, and policies of other reward designs and of a target cost are trained beside them.
"""

from __future__ import annotations

import math
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import cached_property
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from focusgym.agents import (
    Agent,
    CentralAgent,
    FixedAgent,
    GaussianAgent,
    LearnedAgent,
    PlusTraining,
    PPOConfig,
    RandomAgent,
    UniformFramesAgent,
    make_environment,
    read_policy,
    train_policy,
    write_policy,
)
from focusgym.envs import FeatureSource, FocusEngine
from focusgym.feature_cache import FeatureCache
from focusgym.recognizer import read_classifier, torch_threads
from focusgym.runs.training.recipes import DIGITS

SEEDS = (0, 1, 2)
EXACT = {"name": "increment_over_random", "draws": None}
DESIGNS: dict[str, Any] = {
    "confidence": "confidence",
    "increments": "increments",
    "padding": "padding",
    "exact": EXACT,
}
TARGET_SHARE = 0.5  # of what f_L on all frames would cost

Row = dict[str, float | str]


def rows(out: Path) -> dict[str, Row]:
    """Train what is missing beside ``out/quickstart-SEED``, and compare everything."""
    jobs = [(out, seed, name) for seed in SEEDS for name in ("target", *DESIGNS)]
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        list(pool.map(_train, jobs))
    with torch_threads(1):
        return _table([_Seed(out, seed) for seed in SEEDS])


def _train(job: tuple[Path, int, str]) -> None:
    """Train one policy into ``out/policies/NAME-SEED``."""
    out, seed, name = job
    torch.set_num_threads(1)
    run, folder = out / f"quickstart-{seed}", out / "policies" / f"{name}-{seed}"
    folder.parent.mkdir(exist_ok=True)
    cache = FeatureCache.open(run / "cache")
    config = _to_target(run) if name == "target" else replace(DIGITS.ppo, reward=DESIGNS[name])
    policy, _ = train_policy(run / "cache", run / "classifier", config, seed)
    write_policy(folder, policy, cache)


def _to_target(run: Path) -> PPOConfig:
    """Return the settings of AdaFocus+ with a target cost instead of a share to keep."""
    plus = DIGITS.ppo_plus.plus or PlusTraining()
    env = make_environment(run / "cache", run / "classifier", DIGITS.ppo_plus, 0)
    prices = env.player.prices
    target = prices.steps * (prices.frame_gmacs + TARGET_SHARE * prices.cost.local_gmacs)
    aim = replace(plus, keep_ratio=None, target_gmacs=target)
    return replace(DIGITS.ppo_plus, plus=aim)


class _Seed:
    """What is known of one seed: for each policy, which test predictions are right."""

    def __init__(self, out: Path, seed: int) -> None:
        run = out / f"quickstart-{seed}"
        self.out, self.seed = out, seed
        self.cache = FeatureCache.open(run / "cache")
        classifier = read_classifier(run / "classifier", self.cache.fingerprint)
        self._engine = FocusEngine(FeatureSource(self.cache, classifier))
        self._test = self.cache.split("test")
        learned = {"adafocus": run / "policy", "adafocus_plus": run / "policy_plus"}
        for name in ("target", *DESIGNS):
            learned[name] = out / "policies" / f"{name}-{seed}"
        self._agents: dict[str, Agent] = {
            "random": RandomAgent(seed),
            "central": CentralAgent(),
            "gaussian": GaussianAgent(seed),
            **{
                name: LearnedAgent(read_policy(path, self.cache.fingerprint))
                for name, path in learned.items()
            },
        }
        steps, looks = self.cache.steps, round(DIGITS.keep_ratio * self.cache.steps)
        prices = make_environment(run / "cache", run / "classifier", DIGITS.ppo, 0).player.prices
        # What π′ costs would pay for more looks: here policies are small, but f_L is too.
        dearer = looks + math.ceil(steps * prices.cost.policy_gmacs / prices.cost.local_gmacs)
        for name, k in (("uniform", looks), ("uniform_dearer", dearer)):
            self._agents[name] = UniformFramesAgent(k, self._agents["adafocus"])
        self.kept: dict[str, float] = {}

    @cached_property
    def correct(self) -> dict[str, NDArray[np.float64]]:
        """``(B, T)`` of 0 and 1 by policy."""
        return {name: self._play(name, agent) for name, agent in self._agents.items()}

    @cached_property
    def boxes(self) -> NDArray[np.float64]:
        """``(K, B, T)`` of 0 and 1: each box, always."""
        options = range(self.cache.n_options)
        return np.stack([self._play("box", FixedAgent(option)) for option in options])

    def best_fixed(self, step: int) -> NDArray[np.float64]:
        """Return what is right ``(B,)`` at a step with the fixed policy that is best there."""
        fixed = [self.correct[name][:, step] for name in ("random", "central", "gaussian")]
        return max([*fixed, *self.boxes[:, :, step]], key=np.mean)

    def target_error(self) -> float:
        """Return how far the cost on test videos is from the target, as a share of it."""
        run = self.out / f"quickstart-{self.seed}"
        env = make_environment(run / "cache", run / "classifier", DIGITS.ppo_plus, 0)
        prices, plus = env.player.prices, _to_target(run).plus
        assert plus is not None
        assert plus.target_gmacs is not None
        looks = self.kept["target"] * prices.cost.local_gmacs
        return prices.steps * (prices.frame_gmacs + looks) / plus.target_gmacs - 1

    def _play(self, name: str, agent: Agent) -> NDArray[np.float64]:
        plan = agent.plan(self._engine, self._test)
        self.kept[name] = plan.kept_share
        logits = self._engine.rollout(self._test, plan.options, plan.attended)
        right = logits.argmax(dim=-1) == self.cache.labels[self._test][:, None]
        values: NDArray[np.float64] = right.numpy().astype(np.float64)
        return values


def _table(seeds: list[_Seed]) -> dict[str, Row]:
    n_steps, n_videos = seeds[0].cache.steps, sum(len(s.correct["adafocus"]) for s in seeds)
    how = (
        f"digits, test split, seeds {', '.join(str(s.seed) for s in seeds)} ({n_videos} videos in "
        "all), percentage points of accuracy, paired by video; low and high: 95 % interval over "
        "videos, mean over seeds"
    )
    table: dict[str, Row] = {}
    for step in range(1, n_steps):
        table[f"adafocus_over_best_fixed_t{step + 1}"] = _difference(
            [s.correct["adafocus"][:, step] - s.best_fixed(step) for s in seeds],
            f"{how}; after {step + 1} frames, over the best of random, central, Gaussian and all "
            "49 fixed boxes, chosen for each seed and step on the test split itself",
        )

    def final(name: str, less: str) -> list[NDArray[np.float64]]:
        return [s.correct[name][:, -1] - s.correct[less][:, -1] for s in seeds]

    half = "AdaFocus+ with ρ from the training split for half of the frames"
    for name, less, what in (
        ("plus_less_adafocus", ("adafocus_plus", "adafocus"), f"{half}, less AdaFocus"),
        (
            "plus_over_uniform",
            ("adafocus_plus", "uniform"),
            f"{half}, less AdaFocus's π on half of the frames, spread uniformly",
        ),
        (
            "plus_over_uniform_dearer",
            ("adafocus_plus", "uniform_dearer"),
            f"{half}, less π on so many uniform frames that they cost at least as much in all, π′ "
            "being paid too",
        ),
        (
            "target_less_adafocus",
            ("target", "adafocus"),
            "AdaFocus+ trained to a target cost, half of f_L's, less AdaFocus",
        ),
    ):
        table[name] = _difference(final(*less), f"{how}; after all frames; {what}")
    for name in ("adafocus_plus", "target", "uniform_dearer"):
        table[f"{name}_kept_share"] = _spread(
            [s.kept[name] for s in seeds], "", f"share of test frames looked at by {name}"
        )
    table["target_gmacs_error"] = _spread(
        [100 * s.target_error() for s in seeds],
        "%",
        "cost per test video over target_gmacs, f_G, f_L, f_C, π and π′ counted",
    )
    for name in ("adafocus", *DESIGNS):
        means = [100 * s.correct[name] for s in seeds]
        design = "increment_over_random, one draw" if name == "adafocus" else name
        table[f"reward_{name}_final"] = _difference(
            [m[:, -1] / 100 for m in means], f"{how}; accuracy after all frames; reward: {design}"
        )
        table[f"reward_{name}_mean"] = _difference(
            [m.mean(axis=1) / 100 for m in means],
            f"{how}; accuracy averaged over the steps; reward: {design}",
        )
    return table


def _difference(values: list[NDArray[np.float64]], how: str) -> Row:
    """Return the mean over seeds in percent, with the normal 95 % interval of a stratified mean."""
    mean = 100 * np.mean([v.mean() for v in values])
    error = 100 * np.sqrt(sum(v.var(ddof=1) / len(v) for v in values)) / len(values)
    each = ", ".join(f"{100 * v.mean():.1f}" for v in values)
    return {
        "value": float(mean),
        "low": float(mean - 1.96 * error),
        "high": float(mean + 1.96 * error),
        "unit": "points",
        "how": f"{how}; by seed: {each}",
    }


def _spread(values: list[float], unit: str, how: str) -> Row:
    seeds = ", ".join(map(str, SEEDS))
    return {
        "value": float(np.median(values)),
        "low": min(values),
        "high": max(values),
        "unit": unit,
        "how": f"digits, seeds {seeds}; {how}; median, smallest, largest",
    }
