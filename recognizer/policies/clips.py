"""Policies without recurrence: from the glance maps of a clip to one place for all its frames."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from .base import Policy, PolicyState
from .blockwise import blockwise_linear
from .centers import check_centers_config
from .config import PolicyConfig
from .policy import draw_options, option_mask


class ClipTrunk(nn.Module):
    """Layers from the glance map of a segment to units; nothing passes between segments.

    A 1×1 convolution without bias, batch normalisation and an activation; a linear layer, batch
    normalisation and an activation. The map of a clip is that of all its frames, joined on the
    channels.

    Source: the released AdaFocus code for Something-Something, with ReLU; AdaFocusV2
        (arXiv:2112.14238) appendix B.1: "replace the GRU by an MLP", with tanh as released.
    """

    def __init__(self, config: PolicyConfig, activation: Callable[[Tensor], Tensor]) -> None:
        """Build the layers with random weights.

        Args:
            config: Sizes.
            activation: After each batch normalisation.
        """
        super().__init__()
        cells = config.map_height * config.map_width
        self.conv = nn.Linear(config.glance_channels, config.conv_channels, bias=False)
        self.conv_norm = nn.BatchNorm1d(config.conv_channels)
        self.linear = nn.Linear(cells * config.conv_channels, config.hidden)
        self.norm = nn.BatchNorm1d(config.hidden)
        self._activation = activation

    def forward(self, maps: Tensor | Sequence[Tensor]) -> Tensor:
        """Return units ``(B, T, H)`` for glance maps; see `Policy.choose`."""
        if isinstance(maps, Tensor):
            cells = self.conv(maps)
        else:
            cells = blockwise_linear(maps, self.conv.weight)
        batch = cells.shape[:2]
        # Normalised over clips and cells, as a batch norm in two dimensions does.
        cells = self._activation(self.conv_norm(cells.reshape(-1, cells.shape[-1])))
        units = self.norm(self.linear(cells.reshape(batch.numel(), -1)))
        of_clips: Tensor = self._activation(units).unflatten(0, batch)  # (B, T, H)
        return of_clips


class _ClipPolicy(Policy):
    """A policy that remembers nothing of the segments before."""

    @abstractmethod
    def forward(self, maps: Tensor | Sequence[Tensor]) -> Tensor:
        """Return what the network gives for each segment."""

    @abstractmethod
    def places(self, outputs: Tensor, draws: Tensor | None) -> Tensor:
        """Return the places ``(B, T, W)``, of what `forward` returned."""

    def advance(
        self,
        maps: Tensor | Sequence[Tensor],
        state: PolicyState | None,
        draws: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, PolicyState]:
        """Choose like `choose`; the state is empty. See `Policy.advance`."""
        where = self.places(self(maps), draws)
        looks = torch.ones(where.shape[:2], dtype=torch.bool, device=where.device)
        return where, looks, PolicyState(where.new_zeros(1, len(where), 0), None)


class ClipNetwork(_ClipPolicy):
    """π that chooses one of K options for a clip.

    Where a video has several segments, one option serves all that are given at once: the one of the
    highest mean of their logits.

    Source: AdaFocus (arXiv:2105.03245) section 4.2; the layers are the released code's, without its
        GRU, which runs for one step there, and with options in place of two real numbers.
    """

    names_once = True

    def __init__(self, config: PolicyConfig) -> None:
        """Build the network with random weights.

        Raises:
            ValueError: If the config has a threshold: a clip is looked at.
        """
        if config.threshold is not None:
            raise ValueError(
                f"a policy for clips has no π′; got threshold={config.threshold}: leave it out"
            )
        super().__init__(config)
        self.trunk = ClipTrunk(config, torch.relu)
        self.actor = nn.Linear(config.hidden, config.n_options)
        self.register_buffer("_mask", option_mask(config), persistent=False)

    def forward(self, maps: Tensor | Sequence[Tensor]) -> Tensor:
        """Return logits ``(B, T, K)`` over options for glance maps; see `Policy.choose`."""
        logits: Tensor = self.actor(self.trunk(maps)) + self.get_buffer("_mask")
        return logits

    def places(self, outputs: Tensor, draws: Tensor | None) -> Tensor:
        """Return the most probable options ``(B, T)``, or drawn ones: one for all T segments."""
        logits = outputs.mean(dim=1)  # (B, K)
        options = logits.argmax(-1) if draws is None else draw_options(logits, draws[:, 0, 0])
        return options[:, None].expand(outputs.shape[:2])


class ClipCenters(_ClipPolicy):
    """π that names a place anywhere in the frames of a clip: a centre (x, y) in [0, 1]².

    Source: AdaFocusV2 (arXiv:2112.14238) appendix B.1; a second layer of half the width, and batch
        normalisation and tanh, are the released code's.
    """

    names_centers = True

    def __init__(self, config: PolicyConfig) -> None:
        """Build the network with random weights.

        Raises:
            ValueError: If the config has options to choose among, or a threshold.
        """
        check_centers_config(config)
        super().__init__(config)
        self.trunk = ClipTrunk(config, torch.tanh)
        half = max(1, config.hidden // 2)
        self.second = nn.Linear(config.hidden, half)
        self.second_norm = nn.BatchNorm1d(half)
        self.actor = nn.Linear(half, 2)

    def forward(self, maps: Tensor | Sequence[Tensor]) -> Tensor:
        """Return the centres ``(B, T, 2)`` in [0, 1] for glance maps; see `Policy.choose`."""
        units = self.second(self.trunk(maps))
        units = self.second_norm(units.flatten(0, 1)).tanh().unflatten(0, units.shape[:2])
        centers: Tensor = self.actor(units).sigmoid()
        return centers

    def places(self, outputs: Tensor, draws: Tensor | None) -> Tensor:
        """Return the centres."""
        if draws is not None:
            raise ValueError("this policy names a centre and draws nothing: leave the sampling out")
        return outputs
