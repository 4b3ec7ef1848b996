"""Gymnasium environments over a feature cache: the engine and its faces."""

if __name__ == "envs":  # pragma: no cover
    raise ImportError(
        "./envs is the package focusgym.envs: run `pip install -e .`, then `import focusgym.envs`"
    )

import gymnasium

from .engine import FocusEngine, Step
from .env import AdaFocusEnv
from .episodes import Episodes
from .player import EnvConfig
from .rewards import increment_over_random
from .sb3 import AdaFocusVecEnv

gymnasium.register("focusgym/AdaFocus-v0", entry_point="focusgym.envs.env:AdaFocusEnv")

__all__ = [
    "AdaFocusEnv",
    "AdaFocusVecEnv",
    "EnvConfig",
    "Episodes",
    "FocusEngine",
    "Step",
    "increment_over_random",
]
