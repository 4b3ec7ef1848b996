"""The policy network π: from the glance maps so far to a distribution over patches."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class PolicyConfig:
    """Sizes of π.

    Attributes:
        map_height: h of the glance map.
        map_width: w of the glance map.
        glance_channels: G.
        n_options: K, the candidates to choose from.
        conv_channels: Channels after the 1×1 convolution (64 where the paper's compute is met).
        hidden: Width of the linear layer and of the GRU (1024 in the paper).
    """

    map_height: int
    map_width: int
    glance_channels: int
    n_options: int = 49
    conv_channels: int = 64
    hidden: int = 1024


class PolicyTrunk(nn.Module):
    """π without its heads: 1×1 convolution, linear layer, GRU over time.

    No pooling: where things are in the map is what the policy needs. The convolution is a linear
    layer on the last axis, since maps are stored channels last.

    Source: AdaFocus (arXiv:2105.03245) section 3.1 and Figure 3; the linear layer between
    convolution and GRU is the released code's.
    """

    def __init__(self, config: PolicyConfig) -> None:
        """Build the trunk with random weights."""
        super().__init__()
        self.config = config
        cells = config.map_height * config.map_width
        self.conv = nn.Linear(config.glance_channels, config.conv_channels)
        self.linear = nn.Linear(cells * config.conv_channels, config.hidden)
        self.gru = nn.GRU(config.hidden, config.hidden, batch_first=True)

    def forward(self, maps: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Run over a sequence of glance maps.

        Args:
            maps: ``(B, T, h, w, G)`` float32.
            state: ``(1, B, H)`` from an earlier call, or None at the start of an episode.

        Returns:
            Features ``(B, T, H)`` and the state after the last step ``(1, B, H)``.
        """
        x = self.conv(maps).relu().flatten(2)
        features, state = self.gru(self.linear(x).relu(), state)
        return features, state


class PolicyNetwork(nn.Module):
    """π: the trunk and the actor.

    Source: AdaFocus (arXiv:2105.03245) Eq. 3.
    """

    def __init__(self, config: PolicyConfig) -> None:
        """Build the network with random weights."""
        super().__init__()
        self.config = config
        self.trunk = PolicyTrunk(config)
        self.actor = nn.Linear(config.hidden, config.n_options)

    def forward(self, maps: Tensor) -> Tensor:
        """Return logits ``(B, T, K)`` over candidates for glance maps ``(B, T, h, w, G)``."""
        features, _ = self.trunk(maps)
        logits: Tensor = self.actor(features)
        return logits
