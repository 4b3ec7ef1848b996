"""Policies as agents: fixed, learned, oracle; and PPO that trains the learned one."""

if __name__ == "agents":  # pragma: no cover
    raise ImportError(
        "./agents is the package focusgym.agents: run `pip install -e .`, "
        "then `import focusgym.agents`"
    )

from .bounds import OracleAgent, TrueBoxAgent
from .budget import keep_probabilities, keep_threshold, kept_share, with_threshold
from .fixed import (
    Agent,
    CentralAgent,
    FixedAgent,
    GaussianAgent,
    RandomAgent,
    UniformFramesAgent,
    best_fixed_option,
)
from .learned import LearnedAgent, policy_options, read_policy
from .sb3_parts import EpisodeBuffer, GlanceGruExtractor
from .train import PPOConfig, train_policy

__all__ = [
    "Agent",
    "CentralAgent",
    "EpisodeBuffer",
    "FixedAgent",
    "GaussianAgent",
    "GlanceGruExtractor",
    "LearnedAgent",
    "OracleAgent",
    "PPOConfig",
    "RandomAgent",
    "TrueBoxAgent",
    "UniformFramesAgent",
    "best_fixed_option",
    "keep_probabilities",
    "keep_threshold",
    "kept_share",
    "policy_options",
    "read_policy",
    "train_policy",
    "with_threshold",
]
