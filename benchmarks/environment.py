"""How fast the environment steps, and how far that is from its matrix products."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from rows import row
from stable_baselines3.common.vec_env import DummyVecEnv
from synthetic import GRID, C, G, H, L, T, paper_sizes
from torch.nn.functional import linear

from focusgym.envs import EnvConfig, make_sb3
from focusgym.envs.core import Player
from focusgym.recognizer import torch_threads

ENV = "focusgym/AdaFocus-v0"
EXACT = {"name": "increment_over_random", "draws": None}
N_ENVS, EPISODES, REPEATS = 64, 4, 9
SIZES = (
    f"paper sizes (G = 1280 on 7×7, L = 2048, K = 49, H = 1024, C = 200, T = 16), {N_ENVS} episodes"
)

Row = dict[str, float | str]
W_HH, HEAD = 3 * H * H, H * C  # multiply-adds per episode and step


def rows(out: Path) -> dict[str, Row]:
    """Step environments of the paper's sizes on a synthetic cache, and small ones on digits."""
    paths = paper_sizes(out / "paper_sizes")
    table: dict[str, Row] = {}
    for threads in (1, 2):
        with torch_threads(threads):
            table |= at_paper_sizes(paths, threads)
    return {**table, **on_digits(out / "quickstart-0")}


def at_paper_sizes(paths: dict[str, str], threads: int) -> dict[str, Row]:
    """Time faces of the environment in turn, each beside the products it cannot do without."""
    kwargs = {**paths, "observation": "index"}
    single_draw = gymnasium.make_vec(ENV, N_ENVS, **kwargs)
    sb3 = make_sb3(ENV, N_ENVS, **kwargs)
    alone = gymnasium.make(ENV, disable_env_checker=True, **kwargs).unwrapped
    dummies = DummyVecEnv(
        [
            lambda i=i: gymnasium.make(
                ENV, disable_env_checker=True, first_episode=i, episode_stride=N_ENVS, **kwargs
            )
            for i in range(N_ENVS)
        ]
    )
    actions = np.random.default_rng(0).integers(GRID.n_options, size=(EPISODES * T, N_ENVS))
    timed = {
        "engine": engine_stepper(actions, **kwargs),
        "single draw": stepper(single_draw, actions),
        "matmul": products(N_ENVS, 2, len(actions)),
        "exact": engine_stepper(actions, reward=EXACT, **kwargs),
        "no table": engine_stepper(actions[:T], projection_bytes=0, **kwargs),
        "exact matmul": products(N_ENVS, GRID.n_options, len(actions)),
        "sb3": stepper(sb3, actions),
        "dummies": stepper(dummies, actions[:T]),
        "alone": alone_stepper(alone, actions[:, 0]),
        "alone matmul": products(1, 2, len(actions)),
    }
    seconds = in_turn(timed)
    per_step = {
        name: np.array(s) / (T if name in ("dummies", "no table") else len(actions))
        for name, s in seconds.items()
    }
    how = f"{SIZES}, index observations, {threads} thread(s)"
    suffix = "" if threads == 1 else f"_{threads}_threads"

    def ratio(a: str, b: str) -> list[float]:
        return (per_step[a] / per_step[b]).tolist()

    return {
        f"env_step_vs_matmul{suffix}": row(
            ratio("engine", "matmul"),
            "×",
            f"{how}; a step of the engine, rewards and episode order included, infos not asked "
            "for, over one W_hh·h and two heads; bound 1, limit 1.25",
        ),
        f"vector_env_step_vs_matmul{suffix}": row(
            ratio("single draw", "matmul"),
            "×",
            f"{how}; the same of the vector environment, all infos included; bound 1",
        ),
        f"exact_vs_single_draw{suffix}": row(
            ratio("exact", "engine"),
            "×",
            f"{how}; a step with the expectation over all 49 over a step with one draw; bound, the "
            f"products alone: {np.median(ratio('exact matmul', 'matmul')):.2f}, limit 5.5",
        ),
        f"batched_vs_dummy_vec_env{suffix}": row(
            ratio("dummies", "sb3"),
            "×",
            f"{how}; steps per second of the VecEnv over those of 64 single environments under "
            "DummyVecEnv; limit 3 or more",
        ),
        f"single_env_overhead{suffix}": row(
            (1e3 * (per_step["alone"] - per_step["alone matmul"])).tolist(),
            "ms",
            f"{how}; a step of the single environment less its matrix products; limit 0.5",
        ),
        f"env_step_without_table{suffix}": row(
            ratio("no table", "engine"),
            "×",
            f"{how}; a step that projects features itself (projection_bytes=0) over one with the "
            "table; bound, the multiply-adds: "
            f"{(W_HH + 2 * HEAD + 2 * L * 3 * H + G * 3 * H) / (W_HH + 2 * HEAD):.1f}",
        ),
        f"env_steps_per_second_paper{suffix}": row(
            (N_ENVS / per_step["single draw"]).tolist(), "1/s", f"{how}; the vector environment"
        ),
    }


def products(batch: int, branches: int, steps: int) -> Callable[[], None]:
    """Return what does one W_hh·h and the heads of all branches, as often as there are steps."""
    hidden, states = torch.randn(batch, H), torch.randn(batch * branches, H)
    w_hh, b_hh = torch.randn(3 * H, H), torch.randn(3 * H)
    head, bias = torch.randn(C, H), torch.randn(C)

    @torch.no_grad()
    def run() -> None:
        for _ in range(steps):
            linear(hidden, w_hh, b_hh)
            linear(states, head, bias)

    return run


def engine_stepper(actions: np.ndarray, **config: Any) -> Callable[[], None]:
    """Return what plays the episodes of an environment without one of its faces."""
    player = Player(EnvConfig(**config), np.arange(N_ENVS), N_ENVS)

    def run() -> None:
        for step, chosen in enumerate(actions):
            if step % T == 0:
                player.start()
            player.step(chosen)
            player.observe()

    return run


def stepper(env: Any, actions: np.ndarray) -> Callable[[], None]:
    """Return what plays an environment that resets by itself."""
    env.reset()

    def run() -> None:
        for chosen in actions:
            env.step(chosen)

    return run


def alone_stepper(env: Any, actions: np.ndarray) -> Callable[[], None]:
    """Return what plays a single environment, resets included."""

    def run() -> None:
        for step, chosen in enumerate(actions):
            if step % T == 0:
                env.reset()
            env.step(chosen)

    return run


def in_turn(timed: dict[str, Callable[[], None]], repeats: int = REPEATS) -> dict[str, list[float]]:
    """Time all in turn, several times, so that a slow moment of the machine hits all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in timed}
    for repeat in range(repeats + 1):
        for name, run in timed.items():
            start = time.perf_counter()
            run()
            if repeat:  # the first one warms up: pages, tables
                seconds[name].append(time.perf_counter() - start)
    return seconds


def on_digits(run: Path) -> dict[str, Row]:
    """Step the batched environment on the cache of the benchmark's first quickstart."""
    n_envs, episodes = 256, 40
    env = make_sb3(
        ENV, n_envs, cache=run / "cache", classifier=run / "classifier", observation="index"
    )
    env.reset()
    steps = episodes * env.player.cache.steps
    actions = np.random.default_rng(0).integers(env.player.cache.n_options, size=(steps, n_envs))
    seconds = in_turn({"digits": stepper(env, actions)})["digits"]
    how = (
        f"VecEnv for SB3, {n_envs} environments, index observations, Eq. 7 with one draw, f_C with "
        f"128 hidden units; {episodes} episodes each"
    )
    return {"env_steps_per_second": row([steps * n_envs / s for s in seconds], "1/s", how)}
