"""An actor and critic of Stable-Baselines3 that reads the maps of a video frame by frame."""

from __future__ import annotations

from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.policies import MultiInputActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.type_aliases import Schedule, TensorDict
from torch import Tensor, nn

# What a network gives for an action that is not possible: as good as never drawn, and finite.
_NEVER = -1e8


class CubeExtractor(BaseFeaturesExtractor):
    """Units of each segment, and of the video, from observations of the kind ``maps``.

    A segment's map becomes units: a 1×1 convolution and ReLU, a linear layer and ReLU, and a
    convolution over three segments, added to them. What the episode knows (f_C's state, the
    prediction, what was taken) becomes as many, together with the largest over all segments. The
    features are those of the T segments, each joined with the video's, then the video's, then
    ``seen``: ``(B, T·H + H + T)``.

    Source: ours, after the layers of `CubePolicy`, without batch normalisation, whose statistics
        would depend on who else is in a batch.
    """

    def __init__(
        self, observation_space: spaces.Dict, conv_channels: int = 16, hidden: int = 64
    ) -> None:
        """Build the layers.

        Args:
            observation_space: Space of ``maps`` observations.
            conv_channels: Channels after the 1×1 convolution.
            hidden: H, units of a segment, and of the video.

        Raises:
            ValueError: If observations are of another kind.
        """
        if not isinstance(observation_space, spaces.Dict) or "maps" not in observation_space.spaces:
            raise ValueError(
                f"expected observations of the kind maps; got {observation_space}: make the "
                "environment with observation='maps'"
            )
        steps, height, width, channels = observation_space["maps"].shape or ()
        known = sum(
            spaces.utils.flatdim(observation_space[name])
            for name in ("state", "probabilities", "seen")
        )
        super().__init__(observation_space, steps * hidden + hidden + steps)
        self.steps, self.hidden = steps, hidden
        self.conv = nn.Linear(channels, conv_channels)
        self.linear = nn.Linear(height * width * conv_channels, hidden)
        self.over_time = nn.Conv1d(hidden, hidden, 3, padding=1)
        self.known = nn.Linear(hidden + known, hidden)
        self.joined = nn.Linear(2 * hidden, hidden)

    def forward(self, observations: TensorDict) -> Tensor:
        """Return features ``(B, T·H + H + T)``."""
        maps, seen = observations["maps"], observations["seen"]  # (B, T, h, w, G), (B, T)
        units = self.linear(self.conv(maps).relu().flatten(2)).relu()  # (B, T, H)
        units = units + self.over_time(units.transpose(1, 2)).transpose(1, 2).relu()
        knows = [units.amax(dim=1), observations["state"], observations["probabilities"], seen]
        video = self.known(torch.cat(knows, dim=-1)).relu()  # (B, H)
        beside = video[:, None].expand(-1, self.steps, -1)
        units = units + self.joined(torch.cat([units, beside], dim=-1)).relu()
        return torch.cat([units.flatten(1), video, seen], dim=-1)


class CubeHead(nn.Module):
    """Logits of ``Discrete(T·K + 1)`` from the features of `CubeExtractor`.

    Those of the K options of a segment are read from its units, by the same layers in every
    segment, and how much the segment itself is worth is added to them; stopping is read from the
    video's units. Segments that were taken, and stopping before anything was, are never drawn.
    """

    def __init__(self, steps: int, hidden: int, n_options: int) -> None:
        """Build the layers: all actions are as probable at first, but stopping."""
        super().__init__()
        self.steps, self.hidden = steps, hidden
        self.options = nn.Linear(hidden, n_options)
        self.segment = nn.Linear(hidden, 1)
        self.stop = nn.Linear(hidden, 1)
        for layer in (self.options, self.segment, self.stop):
            nn.init.orthogonal_(layer.weight, 0.01)
            nn.init.zeros_(layer.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Return logits ``(B, T·K + 1)``."""
        sizes = [self.steps * self.hidden, self.hidden, self.steps]
        of_segments, video, seen = features.split(sizes, dim=-1)
        units = of_segments.unflatten(-1, (self.steps, self.hidden))
        cubes = self.options(units) + self.segment(units)  # (B, T, K)
        cubes = cubes.masked_fill(seen[..., None] > 0, _NEVER)
        nothing_yet = ~(seen > 0).any(dim=-1, keepdim=True)
        stop = self.stop(video).masked_fill(nothing_yet, _NEVER)
        return torch.cat([cubes.flatten(1), stop], dim=-1)


class CubeActorCritic(MultiInputActorCriticPolicy):
    """The policy of PPO or A2C for ``focusgym/Cubes-v0`` with observations of the kind ``maps``.

    Its sizes are those of `CubeExtractor`, as ``features_extractor_kwargs``.
    """

    def __init__(
        self,
        observation_space: spaces.Dict,
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        **how: Any,
    ) -> None:
        """Build the networks.

        Args:
            observation_space: Space of ``maps`` observations.
            action_space: ``Discrete(T·K + 1)``.
            lr_schedule: Learning rate by the share of the training that is left.
            **how: Of Stable-Baselines3's policy; there are no layers besides, so that ``net_arch``
                is not among them.

        Raises:
            ValueError: If spaces are others.
        """
        steps = (
            (observation_space["maps"].shape or (0,))[0]
            if "maps" in observation_space.spaces
            else 0
        )
        n = int(action_space.n) if isinstance(action_space, spaces.Discrete) else 0
        if steps and (n < 2 or (n - 1) % steps):
            raise ValueError(
                f"expected actions Discrete(T·K + 1) of T = {steps} segments; got {action_space}: "
                "make environments focusgym/Cubes-v0"
            )
        how = {"features_extractor_class": CubeExtractor, **how, "net_arch": []}
        super().__init__(observation_space, action_space, lr_schedule, **how)

    def _build(self, lr_schedule: Schedule) -> None:
        super()._build(lr_schedule)
        extractor, actions = self.features_extractor, self.action_space
        assert isinstance(extractor, CubeExtractor)
        assert isinstance(actions, spaces.Discrete)
        steps, hidden = extractor.steps, extractor.hidden
        self.action_net = CubeHead(steps, hidden, (int(actions.n) - 1) // steps)
        self.value_net = _OfVideo(extractor)
        # Of the networks as they are now.
        rate: float = lr_schedule(1)
        self.optimizer = self.optimizer_class(self.parameters(), lr=rate, **self.optimizer_kwargs)  # type: ignore[call-arg]


class _OfVideo(nn.Linear):
    """The critic: a value from the video's units."""

    def __init__(self, extractor: CubeExtractor) -> None:
        super().__init__(extractor.hidden, 1)
        self._begins = extractor.steps * extractor.hidden

    def forward(self, features: Tensor) -> Tensor:
        """Return values ``(B, 1)``."""
        return super().forward(features[:, self._begins : self._begins + self.in_features])
