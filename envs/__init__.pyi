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
