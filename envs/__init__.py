"""Gymnasium environments over a feature cache: the engine and its faces."""

if __name__ == "envs":  # pragma: no cover
    raise ImportError(
        "./envs is the package focusgym.envs: run `pip install -e .`, then `import focusgym.envs`"
    )

import gymnasium

from .config import EnvConfig, PlusConfig
from .designs import Confidences, RewardDesign, make_design
from .engine import FocusEngine, Step
from .env import AdaFocusEnv, AdaFocusPlusEnv
from .episodes import Episodes
from .record import EpisodeRecord, RecordError, read_record
from .render import Caption, draw_decision, render_record
from .rewards import increment_over_random, increments, padding, regret, skip_gain
from .sb3 import AdaFocusVecEnv, make_sb3
from .source import FeatureSource, open_source
from .vector import AdaFocusPlusVectorEnv, AdaFocusVectorEnv

for name in ("AdaFocus", "AdaFocusPlus"):
    gymnasium.register(
        f"focusgym/{name}-v0",
        entry_point=f"focusgym.envs.env:{name}Env",
        vector_entry_point=f"focusgym.envs.vector:{name}VectorEnv",
    )

__all__ = [
    "AdaFocusEnv",
    "AdaFocusPlusEnv",
    "AdaFocusPlusVectorEnv",
    "AdaFocusVecEnv",
    "AdaFocusVectorEnv",
    "Caption",
    "Confidences",
    "EnvConfig",
    "EpisodeRecord",
    "Episodes",
    "FeatureSource",
    "FocusEngine",
    "PlusConfig",
    "RecordError",
    "RewardDesign",
    "Step",
    "draw_decision",
    "increment_over_random",
    "increments",
    "make_design",
    "make_sb3",
    "open_source",
    "padding",
    "read_record",
    "regret",
    "render_record",
    "skip_gain",
]
