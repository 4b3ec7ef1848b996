"""The policy networks: from the glance maps so far to where to look, and whether."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .base import Policy, PolicyState
from .blockwise import blockwise_linear
from .config import PolicyConfig

# Added to the logits of options that are not allowed: their probability is 0, their entropy finite.
FORBIDDEN = -1e9


class PolicyTrunk(nn.Module):
    """A policy network without its heads: 1×1 convolution, linear layer, GRU over time.

    No pooling: where things are in the map is what the policy needs. The convolution, without
    bias, is a linear layer on the last axis, since maps are stored channels last.

    Source: AdaFocus (arXiv:2105.03245) section 3.1 and Figure 3; the linear layer between
    convolution and GRU is the released code's, and so is the convolution's lack of a bias.
    """

    def __init__(self, config: PolicyConfig) -> None:
        """Build the trunk with random weights."""
        super().__init__()
        self.config = config
        cells = config.map_height * config.map_width
        self.conv = nn.Linear(config.glance_channels, config.conv_channels, bias=False)
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
            cells = blockwise_linear(maps, self.conv.weight)
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
        return self.advance(maps, None)[0]

    def advance(
        self, maps: Tensor | Sequence[Tensor], state: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return p^B ``(B, T)`` and the state after the last frame; see `PolicyTrunk`."""
        features, state = self.trunk(maps, state)
        return self.actor(features).squeeze(-1).sigmoid(), state


class PolicyNetwork(Policy):
    """π, and π′ where frames may be skipped: two networks that share nothing.

    Source: AdaFocus (arXiv:2105.03245) Eq. 3 and 8.
    """

    keep: KeepNetwork | None

    def __init__(self, config: PolicyConfig) -> None:
        """Build the networks with random weights."""
        super().__init__(config)
        self.trunk = PolicyTrunk(config)
        self.actor = nn.Linear(config.hidden, config.n_options)
        self.keep = None if config.threshold is None else KeepNetwork(config)
        self.register_buffer("_mask", option_mask(config), persistent=False)

    def forward(self, maps: Tensor | Sequence[Tensor]) -> Tensor:
        """Return logits ``(B, T, K)`` over options for glance maps; see `PolicyTrunk`."""
        return self._advance(maps, None)[0]

    def advance(
        self,
        maps: Tensor | Sequence[Tensor],
        state: PolicyState | None,
        draws: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, PolicyState]:
        """Choose like `choose`, going on from the frames before; see `Policy.advance`."""
        logits, where = self._advance(maps, None if state is None else state.where)
        options = logits.argmax(dim=-1) if draws is None else draw_options(logits, draws[..., 0])
        if self.keep is None or self.config.threshold is None:
            return options, torch.ones_like(options, dtype=torch.bool), PolicyState(where, None)
        keep, whether = self.keep.advance(maps, None if state is None else state.whether)
        looks = keep >= self.config.threshold if draws is None else draws[..., 1] < keep
        return options, looks, PolicyState(where, whether)

    def _advance(
        self, maps: Tensor | Sequence[Tensor], state: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        features, state = self.trunk(maps, state)
        return self.actor(features) + self.get_buffer("_mask"), state


def draw_options(logits: Tensor, draws: Tensor) -> Tensor:
    """Draw options by inverting the cumulative sums of their probabilities.

    Args:
        logits: ``(..., K)``.
        draws: ``(...)`` uniform in [0, 1).

    Returns:
        ``(...)`` int64 in ``[0, K)``.
    """
    cumulative = logits.double().softmax(dim=-1).cumsum(dim=-1)
    # The last sum may miss 1 by a rounding, and no option after the last possible one is chosen.
    below = cumulative <= draws[..., None] * cumulative[..., -1:]
    return below.sum(dim=-1)


def option_mask(config: PolicyConfig) -> Tensor:
    """Return what is added to the K logits: 0 for options that are allowed."""
    mask = torch.zeros(config.n_options)
    if config.options_allowed is not None:
        mask += FORBIDDEN
        mask[list(config.options_allowed)] = 0
    return mask
