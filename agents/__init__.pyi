from .bounds import OracleAgent, TrueBoxAgent
from .budget import keep_probabilities, keep_threshold, with_threshold
from .checkpoints.checkpoint import Checkpoints, load_checkpoint, save_checkpoint
from .confident import MostConfidentAgent
from .cross_fitted import CrossFittedBoxAgent, GlanceRuleAgent
from .cube_actor import CubeActorCritic
from .direct_recognizer import DirectRecognizer
from .exits.kinds import SOLVERS
from .exits.outcome import ExitOutcome, apply_exits, fixed_exits, random_exits
from .exits.solvers import solve_exits
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
from .read_recognizer import read_system_recognizer
from .reading import read_segments
from .stepwise import StepwiseAgent
from .system_files import is_system_folder
from .system_recognizer import SystemRecognition, SystemRecognizer
from .systems.direct_system import DirectSystem, FixedSystem
from .systems.encoders import Encoders
from .systems.learned_system import LearnedSystem, Learner, PricedSystem, Table
from .systems.registry import SYSTEMS, find_system
from .systems.system import ClassifierKind, System
from .systems.training import SystemModel, make_system, train_system
from .task_play import TaskTrace, play_task, trace_task
from .task_recognizer import TaskRecognizer
from .train import make_environment, train_policy
from .validation import Validation

__all__ = [
    "PRESETS",
    "SOLVERS",
    "SYSTEMS",
    "Agent",
    "CentralAgent",
    "Checkpoints",
    "ClassifierKind",
    "CollapseWarning",
    "CrossFittedBoxAgent",
    "CubeActorCritic",
    "DirectRecognizer",
    "DirectSystem",
    "Encoders",
    "EpisodeBuffer",
    "ExitOutcome",
    "FixedAgent",
    "FixedSystem",
    "FocusPPO",
    "GaussianAgent",
    "GlanceGruExtractor",
    "GlanceRuleAgent",
    "GruPolicy",
    "LearnedAgent",
    "LearnedSystem",
    "Learner",
    "ModelAgent",
    "MostConfidentAgent",
    "OracleAgent",
    "PPOConfig",
    "PlusTraining",
    "PricedSystem",
    "RandomAgent",
    "StepwiseAgent",
    "System",
    "SystemModel",
    "SystemRecognition",
    "SystemRecognizer",
    "Table",
    "TaskRecognizer",
    "TaskTrace",
    "TrueBoxAgent",
    "UniformFramesAgent",
    "Validation",
    "apply_exits",
    "best_fixed_option",
    "find_system",
    "fixed_exits",
    "is_system_folder",
    "keep_probabilities",
    "keep_threshold",
    "load_checkpoint",
    "make_environment",
    "make_system",
    "play_task",
    "policy_plan",
    "random_exits",
    "read_penalty",
    "read_policy",
    "read_segments",
    "read_system_recognizer",
    "save_checkpoint",
    "solve_exits",
    "trace_task",
    "train_policy",
    "train_system",
    "with_threshold",
    "write_policy",
]
