from .config import EnvConfig, PlusConfig
from .engine.engine import Counterfactuals, FocusEngine, Tried
from .engine.interpolated import interpolated
from .engine.pixels import PixelSource, pixel_sources
from .engine.plan import Plan
from .engine.source import FeatureSource, Source, open_source
from .episodes.order import Episodes
from .faces.env import FocusEnv
from .faces.sb3 import FocusVecEnv, make_sb3
from .faces.vector import FocusVectorEnv
from .records.record import EpisodeRecord, RecordError, read_record
from .records.render import Caption, draw_decision, render_record
from .rewards.designs import Confidences, RewardDesign, make_design
from .rewards.functions import increment_over_random, increments, padding, regret, skip_gain
from .tasks.adafocus import AdaFocusTask
from .tasks.boxes import BoxesConfig, BoxesTask
from .tasks.cubes import CubesConfig, CubesTask
from .tasks.exits import ExitConfig, ExitTask
from .tasks.glimpses import GlimpsesConfig, GlimpsesTask
from .tasks.jump import JumpConfig, JumpTask
from .tasks.pointers import PointersConfig, PointersTask
from .tasks.priced import OneOptionConfig, PricedConfig, PricedTask
from .tasks.registry import register_task
from .tasks.resolutions import ResolutionConfig, ResolutionTask
from .tasks.subset import SubsetConfig, SubsetTask
from .tasks.task import Decision, Look, Task
from .tasks.timelines import Timeline, uniform_segments

__all__ = [
    "AdaFocusTask",
    "BoxesConfig",
    "BoxesTask",
    "Caption",
    "Confidences",
    "Counterfactuals",
    "CubesConfig",
    "CubesTask",
    "Decision",
    "EnvConfig",
    "EpisodeRecord",
    "Episodes",
    "ExitConfig",
    "ExitTask",
    "FeatureSource",
    "FocusEngine",
    "FocusEnv",
    "FocusVecEnv",
    "FocusVectorEnv",
    "GlimpsesConfig",
    "GlimpsesTask",
    "JumpConfig",
    "JumpTask",
    "Look",
    "OneOptionConfig",
    "PixelSource",
    "Plan",
    "PlusConfig",
    "PointersConfig",
    "PointersTask",
    "PricedConfig",
    "PricedTask",
    "RecordError",
    "ResolutionConfig",
    "ResolutionTask",
    "RewardDesign",
    "Source",
    "SubsetConfig",
    "SubsetTask",
    "Task",
    "Timeline",
    "Tried",
    "draw_decision",
    "increment_over_random",
    "increments",
    "interpolated",
    "make_design",
    "make_sb3",
    "open_source",
    "padding",
    "pixel_sources",
    "read_record",
    "register_task",
    "regret",
    "render_record",
    "skip_gain",
    "uniform_segments",
]
