"""The policy networks: from the glance maps so far to where to look, and whether."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .blockwise import blockwise_linear

# Added to the logits of options that are not allowed: their probability is 0, their entropy finite.
FORBIDDEN = -1e9


@dataclass(frozen=True)
class PolicyConfig:
    """Sizes of π, and of π′ where there is one.

    Attributes:
        map_height: h of the glance map.
        map_width: w of the glance map.
        glance_channels: G.
        n_options: K, the options to choose from.
        conv_channels: Channels after the 1×1 convolution (64 where the paper's compute is met; 32
            in the released code).
        hidden: Width of the linear layer and of the GRU (1024 in the paper, 2048 in AdaFocusV2).
        options_allowed: Options that may be chosen; None for all.
        threshold: ρ: frames for which π′ gives a keep probability below it are skipped. None means
            that there is no π′ and every frame is looked at.

    Raises:
        ValueError: If an allowed option is not in ``[0, K)``, or ρ is not in [0, 1].
    """

    map_height: int
    map_width: int
    glance_channels: int
    n_options: int = 49
    conv_channels: int = 64
    hidden: int = 1024
    options_allowed: Sequence[int] | None = None
    threshold: float | None = None

    def __post_init__(self) -> None:
        """Check the options and the threshold."""
        allowed = self.options_allowed
        if allowed is not None and not (
            len(allowed) and all(type(k) is int and 0 <= k < self.n_options for k in allowed)
        ):
            raise ValueError(
                f"options_allowed must be options in [0, {self.n_options}), at least one; got "
                f"{list(allowed)}"
            )
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold must be in [0, 1], or None; got {self.threshold}")


class PolicyTrunk(nn.Module):
    """A policy network without its heads: 1×1 convolution, linear layer, GRU over time.

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

    def forward(
        self, maps: Tensor | Sequence[Tensor], state: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Run over a sequence of glance maps.

        Args:
            maps: ``(B, T, h, w, G)`` of the weights' dtype; or a sequence of B tensors
                ``(T, h, w, G)`` as they are stored, which are converted one at a time.
            state: ``(1, B, H)`` from an earlier call, or None at the start of an episode.

        Returns:
            Features ``(B, T, H)`` and the state after the last step ``(1, B, H)``.
        """
        if isinstance(maps, Tensor):
            cells = self.conv(maps)
        else:
            cells = blockwise_linear(maps, self.conv.weight, self.conv.bias)
        features, state = self.gru(self.linear(cells.relu().flatten(2)).relu(), state)
        return features, state


class KeepNetwork(nn.Module):
    """π′: whether to look at a frame at all.

    Source: AdaFocus (arXiv:2105.03245) Eq. 8: a network of π's architecture with one output.
    """

    def __init__(self, config: PolicyConfig) -> None:
        """Build the network with random weights."""
        super().__init__()
        self.trunk = PolicyTrunk(config)
        self.actor = nn.Linear(config.hidden, 1)

    def forward(self, maps: Tensor | Sequence[Tensor]) -> Tensor:
        """Return the keep probabilities p^B ``(B, T)`` for glance maps; see `PolicyTrunk`."""
        logits: Tensor = self.actor(self.trunk(maps)[0]).squeeze(-1)
        return logits.sigmoid()


class PolicyNetwork(nn.Module):
    """π, and π′ where frames may be skipped: two networks that share nothing.

    Source: AdaFocus (arXiv:2105.03245) Eq. 3 and 8.
    """

    def __init__(self, config: PolicyConfig) -> None:
        """Build the networks with random weights."""
        super().__init__()
        self.config = config
        self.trunk = PolicyTrunk(config)
        self.actor = nn.Linear(config.hidden, config.n_options)
        self.keep = None if config.threshold is None else KeepNetwork(config)
        self.register_buffer("_mask", option_mask(config), persistent=False)

    def forward(self, maps: Tensor | Sequence[Tensor]) -> Tensor:
        """Return logits ``(B, T, K)`` over options for glance maps; see `PolicyTrunk`."""
        features, _ = self.trunk(maps)
        logits: Tensor = self.actor(features) + self.get_buffer("_mask")
        return logits

    def choose(self, maps: Tensor | Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Choose where to look, and whether, without sampling.

        Args:
            maps: Glance maps of B videos; see `PolicyTrunk`.

        Returns:
            The most probable options ``(B, T)`` int64; and ``(B, T)`` bool, whether p^B reaches ρ:
            all true without π′.

        Source: AdaFocus (arXiv:2105.03245) sections 3.1 and 3.3.
        """
        options = self(maps).argmax(dim=-1)
        if self.keep is None or self.config.threshold is None:
            return options, torch.ones_like(options, dtype=torch.bool)
        return options, self.keep(maps) >= self.config.threshold


def option_mask(config: PolicyConfig) -> Tensor:
    """Return what is added to the K logits: 0 for options that are allowed."""
    mask = torch.zeros(config.n_options)
    if config.options_allowed is not None:
        mask += FORBIDDEN
        mask[list(config.options_allowed)] = 0
    return mask
