"""An actor and critic of Stable-Baselines3 that names one place for a whole video."""

from __future__ import annotations

import math
from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.policies import MultiInputActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.type_aliases import Schedule, TensorDict
from torch import Tensor, nn

# Of the Gaussian noise on a centre in [0, 1]²; see the source below.
_STD = 0.25


class ClipExtractor(BaseFeaturesExtractor):
    """Units of a video from observations of the kind ``maps``.

    A segment's map becomes units: a 1×1 convolution and ReLU, a linear layer and ReLU; those of a
    video are their mean over its segments.

    Source: the layers of `ClipTrunk`, without batch normalisation, whose statistics would depend on
        who else is in a batch.
    """

    def __init__(
        self, observation_space: spaces.Dict, conv_channels: int = 64, hidden: int = 256
    ) -> None:
        """Build the layers.

        Args:
            observation_space: Space of ``maps`` observations.
            conv_channels: Channels after the 1×1 convolution.
            hidden: H, units of a video.

        Raises:
            ValueError: If observations are of another kind.
        """
        if not isinstance(observation_space, spaces.Dict) or "maps" not in observation_space.spaces:
            raise ValueError(
                f"expected observations of the kind maps; got {observation_space}: make the "
                "environment with observation='maps'"
            )
        _, height, width, channels = observation_space["maps"].shape or ()
        super().__init__(observation_space, hidden)
        self.conv = nn.Linear(channels, conv_channels, bias=False)
        self.linear = nn.Linear(height * width * conv_channels, hidden)

    def forward(self, observations: TensorDict) -> Tensor:
        """Return features ``(B, H)``."""
        cells = self.conv(observations["maps"]).relu()  # (B, T, h, w, ·)
        features: Tensor = self.linear(cells.flatten(2)).relu().mean(dim=1)
        return features


class ClipActorCritic(MultiInputActorCriticPolicy):
    """The policy of PPO or A2C for ``focusgym/Clip-v0`` with observations of the kind ``maps``.

    Of centres, the mean is a sigmoid's, and the noise on it is not learned. Its sizes are those of
    `ClipExtractor`, as ``features_extractor_kwargs``.

    Source: the released AdaFocus code for Something-Something: a Gaussian of standard deviation
        0.25 around a sigmoid. There draws are clamped to [0, 1] before their probability is taken;
        Stable-Baselines3 takes that of the draw.
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
            action_space: ``Discrete(K)``, or ``Box(0, 1, (2,))``.
            lr_schedule: Learning rate by the share of the training that is left.
            **how: Of Stable-Baselines3's policy; there are no layers besides, so that ``net_arch``
                is not among them.

        Raises:
            ValueError: If observations are of another kind.
        """
        how = {"features_extractor_class": ClipExtractor, **how, "net_arch": []}
        super().__init__(observation_space, action_space, lr_schedule, **how)

    def _build(self, lr_schedule: Schedule) -> None:
        super()._build(lr_schedule)
        if not isinstance(self.action_space, spaces.Box):
            return
        self.action_net = nn.Sequential(self.action_net, nn.Sigmoid())
        self.log_std = nn.Parameter(torch.full((2,), math.log(_STD)), requires_grad=False)
        # Of the networks as they are now.
        rate: float = lr_schedule(1)
        self.optimizer = self.optimizer_class(self.parameters(), lr=rate, **self.optimizer_kwargs)  # type: ignore[call-arg]
