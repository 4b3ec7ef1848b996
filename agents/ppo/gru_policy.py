"""π and π′ with their critics, as a policy of Stable-Baselines3."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule, TensorDict
from torch import Tensor, nn
from torch.distributions import Categorical
from torch.nn import functional

from ...feature_cache import FeatureCache
from ...recognizer import PolicyNetwork, option_mask
from .objective import log_probs_of
from .sb3_parts import GlanceGruExtractor

# Learners by name: π and π′. Actions of a pair are in this order.
LOCATION, KEEP = "location", "keep"


class Learner(nn.Module):
    """One policy network, π or π′, with its critic: trunk, actor, critic."""

    def __init__(self, extractor: GlanceGruExtractor, n_outputs: int, mask: Tensor) -> None:
        """Add heads to a trunk.

        Args:
            extractor: The trunk.
            n_outputs: Of the actor; a single one is the logit of keeping, that of skipping is 0.
            mask: What is added to the logits, as many as there are actions.
        """
        super().__init__()
        self.extractor = extractor
        self.actor = nn.Linear(extractor.features_dim, n_outputs)
        self.critic = nn.Linear(extractor.features_dim, 1)
        self.register_buffer("_mask", mask, persistent=False)

    def episodes(self, videos: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Return logits ``(B, T, actions)`` and values ``(B, T)`` of whole videos ``(B,)``."""
        return self._heads(self.extractor.episodes(videos))

    def forward(self, observations: TensorDict) -> tuple[Tensor, Tensor]:
        """Return logits ``(M, actions)`` and values ``(M,)`` of M (video, step) pairs."""
        return self._heads(self.extractor(observations))

    def _heads(self, features: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.actor(features)
        if logits.shape[-1] == 1:
            logits = functional.pad(logits, (1, 0))
        return logits + self.get_buffer("_mask"), self.critic(features).squeeze(-1)


class GruPolicy(BasePolicy):
    """π for AdaFocus; π and π′, which share nothing, for AdaFocus+.

    Observations are ``index`` ones. The networks read glance maps from the cache themselves, and
    what they give for a step needs no state from the caller: ``predict`` takes and returns none.

    Attributes:
        learners: By name: ``location`` (π) and, for AdaFocus+, ``keep`` (π′).
        optimizer: Adam over all of them; a group of parameters for each learner.

    Source: AdaFocus (arXiv:2105.03245) Eq. 3, 8 and Figure 3; a linear critic on the GRU's output
        as in the released code.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        *,
        cache: FeatureCache,
        conv_channels: int = 64,
        hidden: int = 1024,
        options_allowed: Sequence[int] | None = None,
        optimizer_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        """Build the networks with random weights.

        Args:
            observation_space: Space of ``index`` observations.
            action_space: ``Discrete(K)`` or ``MultiDiscrete([K, 2])``.
            lr_schedule: Learning rate by remaining progress.
            cache: Where glance maps are.
            conv_channels: Channels after the 1×1 convolution.
            hidden: Width of the linear layer and the GRU.
            options_allowed: Options that may be chosen; None for all.
            optimizer_kwargs: Keywords of `torch.optim.Adam`.

        Raises:
            ValueError: If observations are not ``index`` ones, or actions are of another kind.
        """
        super().__init__(observation_space, action_space)
        self._cache = cache
        k = cache.n_options
        pairs = spaces.MultiDiscrete([k, 2])
        if action_space not in (spaces.Discrete(k), pairs):
            raise ValueError(
                f"GruPolicy acts in Discrete({k}) or {pairs}; got {action_space}: use an algorithm "
                "of Stable-Baselines3 with GlanceGruExtractor for the flat action set"
            )

        def trunk() -> GlanceGruExtractor:
            return GlanceGruExtractor(self.observation_space, cache, conv_channels, hidden)  # type: ignore[arg-type]

        location = trunk()
        allowed = None if options_allowed is None else tuple(int(i) for i in options_allowed)
        self.config = replace(location.config, options_allowed=allowed)
        self.learners = nn.ModuleDict({LOCATION: Learner(location, k, option_mask(self.config))})
        if action_space == pairs:
            self.learners[KEEP] = Learner(trunk(), 1, torch.zeros(2))
        self.optimizer = torch.optim.Adam(
            [{"params": list(learner.parameters())} for learner in self.learners.values()],
            lr=lr_schedule(1),
            **{"fused": True, **(optimizer_kwargs or {})},
        )

    def forward(
        self, obs: TensorDict, deterministic: bool = False
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return actions ``(M, ...)``, values ``(M,)`` and log-probabilities ``(M,)``.

        Of AdaFocus+, values and log-probabilities are sums over π and π′.
        """
        outputs = {name: learner(obs) for name, learner in self.learners.items()}
        actions = [
            _best(f[0], name) if deterministic else _sample(f[0]) for name, f in outputs.items()
        ]
        heads = list(outputs.values())
        log_probs = [log_probs_of(f[0], action) for f, action in zip(heads, actions, strict=True)]
        return (
            actions[0] if len(actions) == 1 else torch.stack(actions, dim=-1),
            torch.stack([values for _, values in heads]).sum(dim=0),
            torch.stack(log_probs).sum(dim=0),
        )

    def evaluate_actions(self, obs: TensorDict, actions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return values, log-probabilities and entropies, each ``(M,)``, of actions ``(M, ...)``.

        Of AdaFocus+, sums over π and π′.
        """
        columns = actions.long().reshape(len(actions), len(self.learners)).T
        outputs = [learner(obs) for learner in self.learners.values()]
        log_probs = [log_probs_of(f[0], column) for f, column in zip(outputs, columns, strict=True)]
        entropies = [Categorical(logits=logits).entropy() for logits, _ in outputs]
        values = [values for _, values in outputs]
        return (
            torch.stack(values).sum(dim=0),
            torch.stack(log_probs).sum(dim=0),
            torch.stack(entropies).sum(dim=0),
        )

    def predict_values(self, obs: TensorDict) -> Tensor:
        """Return values ``(M,)``; of AdaFocus+, the sums over π and π′."""
        return torch.stack([learner(obs)[1] for learner in self.learners.values()]).sum(dim=0)

    def network(self, threshold: float = 0.5) -> PolicyNetwork:
        """Return π, and π′ with ρ, without critics: a copy to be plugged back, in eval mode.

        Args:
            threshold: ρ; only for AdaFocus+.
        """
        config = (
            self.config if KEEP not in self.learners else replace(self.config, threshold=threshold)
        )
        network = PolicyNetwork(config)
        parts = {LOCATION: network, KEEP: network.keep}
        for name, learner in self.learners.items():
            part = parts[name]
            assert isinstance(part, nn.Module)
            assert isinstance(learner, Learner)
            part.get_submodule("trunk").load_state_dict(learner.extractor.trunk.state_dict())
            part.get_submodule("actor").load_state_dict(learner.actor.state_dict())
        return network.eval()

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> Tensor:
        actions: Tensor = self.forward(observation, deterministic)[0]  # type: ignore[arg-type]
        return actions

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {
            "observation_space": self.observation_space,
            "action_space": self.action_space,
            "lr_schedule": self._dummy_schedule,
            "cache": self._cache,
            "conv_channels": self.config.conv_channels,
            "hidden": self.config.hidden,
            "options_allowed": self.config.options_allowed,
        }


def _best(logits: Tensor, name: str) -> Tensor:
    if name == KEEP:  # p^B = 1/2 keeps, as it reaches ρ = 1/2
        return (logits[..., 1] >= logits[..., 0]).long()
    return logits.argmax(dim=-1)


def _sample(logits: Tensor) -> Tensor:
    drawn: Tensor = Categorical(logits=logits, validate_args=False).sample()
    return drawn
