"""How fast the environment steps."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from rows import row

from focusgym.envs import AdaFocusVecEnv, EnvConfig

N_ENVS, EPISODES, REPEATS = 256, 40, 7


def rows(out: Path) -> dict[str, dict[str, float | str]]:
    """Step the batched environment on the cache of the benchmark's first quickstart."""
    run = out / "quickstart-0"
    config = EnvConfig(run / "cache", run / "classifier", observation="index")
    env = AdaFocusVecEnv(config, N_ENVS)
    env.reset()
    steps = EPISODES * env.player.cache.steps
    actions = np.random.default_rng(0).integers(env.player.cache.n_options, size=(steps, N_ENVS))
    rates = []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        for chosen in actions:
            env.step(chosen)
        rates.append(steps * N_ENVS / (time.perf_counter() - start))
    how = (
        f"AdaFocusVecEnv, {N_ENVS} environments, index observations, Eq. 7 with one draw, f_C with "
        f"128 hidden units; {EPISODES} episodes each"
    )
    return {"env_steps_per_second": row(rates[1:], "1/s", how)}  # the first one warms up
