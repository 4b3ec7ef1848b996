"""Policies as agents: fixed, learned, oracle; and PPO that trains the learned one."""

if __name__ == "agents":  # pragma: no cover
    raise ImportError(
        "./agents is the package focusgym.agents: run `pip install -e .`, "
        "then `import focusgym.agents`"
    )

from .fixed import Agent, CentralAgent, GaussianAgent, OracleAgent, RandomAgent, TrueBoxAgent
from .learned import LearnedAgent, policy_options, read_policy
from .sb3_parts import EpisodeBuffer, GlanceGruExtractor
from .train import PPOConfig, train_policy

__all__ = [
    "Agent",
    "CentralAgent",
    "EpisodeBuffer",
    "GaussianAgent",
    "GlanceGruExtractor",
    "LearnedAgent",
    "OracleAgent",
    "PPOConfig",
    "RandomAgent",
    "TrueBoxAgent",
    "policy_options",
    "read_policy",
    "train_policy",
]
