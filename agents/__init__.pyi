from .bounds import OracleAgent, TrueBoxAgent
from .budget import keep_probabilities, keep_threshold, with_threshold
from .checkpoints.checkpoint import Checkpoints, load_checkpoint, save_checkpoint
from .exits.controls import fixed_exits, random_exits
from .exits.outcome import ExitOutcome, apply_exits
from .exits.solvers import SOLVERS, solve_exits
from .fixed import (
    Agent,
    CentralAgent,
    FixedAgent,
    GaussianAgent,
    RandomAgent,
    UniformFramesAgent,
    best_fixed_option,
)
from .learned import LearnedAgent, policy_plan, read_penalty, read_policy, write_policy
from .model_agent import ModelAgent
from .ppo.diagnostics import CollapseWarning
from .ppo.focus_ppo import FocusPPO
from .ppo.gru_policy import GruPolicy
from .ppo.sb3_parts import EpisodeBuffer, GlanceGruExtractor
from .presets import PRESETS, PlusTraining, PPOConfig
from .stepwise import StepwiseAgent
from .task_play import play_task
from .train import make_environment, train_policy
from .validation import Validation

__all__ = [
    "PRESETS",
    "SOLVERS",
    "Agent",
    "CentralAgent",
    "Checkpoints",
    "CollapseWarning",
    "EpisodeBuffer",
    "ExitOutcome",
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
    "StepwiseAgent",
    "TrueBoxAgent",
    "UniformFramesAgent",
    "Validation",
    "apply_exits",
    "best_fixed_option",
    "fixed_exits",
    "keep_probabilities",
    "keep_threshold",
    "load_checkpoint",
    "make_environment",
    "play_task",
    "policy_plan",
    "random_exits",
    "read_penalty",
    "read_policy",
    "save_checkpoint",
    "solve_exits",
    "train_policy",
    "with_threshold",
    "write_policy",
]
