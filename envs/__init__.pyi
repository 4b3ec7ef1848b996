from .config import EnvConfig, PlusConfig
from .engine.engine import FocusEngine, Step
from .engine.source import FeatureSource, open_source
from .episodes.order import Episodes
from .faces.env import AdaFocusEnv, AdaFocusPlusEnv
from .faces.sb3 import AdaFocusVecEnv, make_sb3
from .faces.vector import AdaFocusPlusVectorEnv, AdaFocusVectorEnv
from .records.record import EpisodeRecord, RecordError, read_record
from .records.render import Caption, draw_decision, render_record
from .rewards.designs import Confidences, RewardDesign, make_design
from .rewards.functions import increment_over_random, increments, padding, regret, skip_gain

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
