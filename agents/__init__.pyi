from .bounds import OracleAgent, TrueBoxAgent
from .budget import keep_probabilities, keep_threshold, kept_share, with_threshold
from .checkpoint import Checkpoints, load_checkpoint, save_checkpoint
from .diagnostics import CollapseWarning
from .fixed import (
    Agent,
    CentralAgent,
    FixedAgent,
    GaussianAgent,
    RandomAgent,
    UniformFramesAgent,
    best_fixed_option,
)
from .focus_ppo import FocusPPO
from .gru_policy import GruPolicy
from .learned import LearnedAgent, policy_options, read_penalty, read_policy, write_policy
from .model_agent import ModelAgent
from .presets import PRESETS, PlusTraining, PPOConfig
from .sb3_parts import EpisodeBuffer, GlanceGruExtractor
from .train import make_environment, train_policy
from .validation import Validation

__all__ = [
    "PRESETS",
    "Agent",
    "CentralAgent",
    "Checkpoints",
    "CollapseWarning",
    "EpisodeBuffer",
    "FixedAgent",
    "FocusPPO",
    "GaussianAgent",
    "GlanceGruExtractor",
    "GruPolicy",
    "LearnedAgent",
    "ModelAgent",
    "OracleAgent",
    "PPOConfig",
    "PlusTraining",
    "RandomAgent",
    "TrueBoxAgent",
    "UniformFramesAgent",
    "Validation",
    "best_fixed_option",
    "keep_probabilities",
    "keep_threshold",
    "kept_share",
    "load_checkpoint",
    "make_environment",
    "policy_options",
    "read_penalty",
    "read_policy",
    "save_checkpoint",
    "train_policy",
    "with_threshold",
    "write_policy",
]
