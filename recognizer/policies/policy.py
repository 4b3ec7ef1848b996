"""The policy networks: from the glance maps so far to where to look, and whether."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

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
        network: Kind of the networks: ``gru``, or ``module:attribute`` of a subclass of
            `PolicyNetwork`.

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
    network: str = "gru"

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


class PolicyState(NamedTuple):
    """What the policy remembers of the frames before: the states of its GRUs.

    Attributes:
        where: Of π, ``(1, B, H)``.
        whether: Of π′; None without one.
    """

    where: Tensor
    whether: Tensor | None

    def of(self, episodes: Tensor) -> PolicyState:
        """Return the state of some of the B episodes, told by an index or a mask ``(B,)``."""
        whether = None if self.whether is None else self.whether[:, episodes]
        return PolicyState(self.where[:, episodes], whether)


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
        return self._advance(maps, None)[0]

    def choose(
        self, maps: Tensor | Sequence[Tensor], draws: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Choose where to look, and whether, in all frames of B videos.

        Args:
            maps: Glance maps of B videos; see `PolicyTrunk`.
            draws: ``(B, T, 2)`` uniform in [0, 1): the option is drawn with the first number of a
                frame, whether to look with the second. None chooses without sampling.

        Returns:
            The options ``(B, T)`` int64; and ``(B, T)`` bool, whether to look: all true without
            π′. Without sampling, the most probable option, and whether p^B reaches ρ.

        Source: AdaFocus (arXiv:2105.03245) sections 3.1 and 3.3; with ``draws``, Eq. 3 and 8.
        """
        return self.advance(maps, None, draws)[:2]

    def advance(
        self,
        maps: Tensor | Sequence[Tensor],
        state: PolicyState | None,
        draws: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, PolicyState]:
        """Choose like `choose`, going on from the frames before.

        Args:
            maps: Glance maps of the next frames.
            state: From the call before; None at the start of the videos.
            draws: See `choose`.

        Returns:
            Options and looks, see `choose`; and the state after the last frame.
        """
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
