"""AdaFocusV2's policy: from the glance maps so far to the centre of a box."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .base import Policy, PolicyState
from .blockwise import blockwise_linear
from .config import PolicyConfig


class CenterNetwork(Policy):
    """π that names a place anywhere in the frame: a centre (x, y) in [0, 1]², by a GRU over time.

    A 1×1 convolution without bias, batch normalisation and tanh; a linear layer, batch
    normalisation and tanh; a GRU; a linear layer and a sigmoid. What it gives is differentiable:
    the gradient of what was cut out there trains it, and nothing is drawn.

    Source: AdaFocusV2 (arXiv:2112.14238) appendix B.1. Batch normalisation, tanh and the linear
        layer before the GRU are the released code's.
    """

    names_centers = True

    def __init__(self, config: PolicyConfig) -> None:
        """Build the network with random weights.

        Raises:
            ValueError: If the config has options to choose among, or a threshold.
        """
        check_centers_config(config)
        super().__init__(config)
        cells = config.map_height * config.map_width
        self.conv = nn.Linear(config.glance_channels, config.conv_channels, bias=False)
        self.conv_norm = nn.BatchNorm1d(config.conv_channels)
        self.linear = nn.Linear(cells * config.conv_channels, config.hidden)
        self.norm = nn.BatchNorm1d(config.hidden)
        self.gru = nn.GRU(config.hidden, config.hidden, batch_first=True)
        self.actor = nn.Linear(config.hidden, 2)

    def activate(self, units: Tensor) -> Tensor:
        """Return what follows each batch normalisation: tanh."""
        return units.tanh()

    def forward(self, maps: Tensor | Sequence[Tensor]) -> Tensor:
        """Return the centres ``(B, T, 2)`` in [0, 1] for glance maps; see `Policy.choose`."""
        return self._advance(maps, None)[0]

    def advance(
        self,
        maps: Tensor | Sequence[Tensor],
        state: PolicyState | None,
        draws: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, PolicyState]:
        """Name centres like `choose`, going on from the segments before; see `Policy.advance`."""
        if draws is not None:
            raise ValueError("this policy names a centre and draws nothing: leave the sampling out")
        centers, where = self._advance(maps, None if state is None else state.where)
        looks = torch.ones(centers.shape[:2], dtype=torch.bool, device=centers.device)
        return centers, looks, PolicyState(where, None)

    def _advance(
        self, maps: Tensor | Sequence[Tensor], state: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        if isinstance(maps, Tensor):
            cells = self.conv(maps)
        else:
            cells = blockwise_linear(maps, self.conv.weight)
        batch, steps = cells.shape[:2]
        # Normalised over videos, segments and cells, as a batch norm in two dimensions does.
        cells = self.activate(self.conv_norm(cells.reshape(-1, cells.shape[-1])))
        units = self.linear(cells.reshape(batch * steps, -1))
        units = self.activate(self.norm(units)).unflatten(0, (batch, steps))  # (B, T, H)
        features, state = self.gru(units, state)
        return self.actor(features).sigmoid(), state


class ReluCenterNetwork(CenterNetwork):
    """The same with ReLU in place of tanh: π of AdaFocus's released Something-Something networks.

    There a clip is one segment, for which the GRU runs one step from zeros; `ClipCenters` has none.

    Source: the released AdaFocus code for Something-Something.
    """

    def activate(self, units: Tensor) -> Tensor:
        """Return what follows each batch normalisation: ReLU."""
        return units.relu()


def check_centers_config(config: PolicyConfig) -> None:
    """Check that sizes are those of a network that names centres.

    Raises:
        ValueError: If there are options to choose among, or a threshold.
    """
    others = config.options_allowed is not None or config.threshold is not None
    if config.n_options != 1 or others:
        raise ValueError(
            "a network that names centres has one option, which may be anywhere, and no π′; "
            f"got n_options={config.n_options}, options_allowed={config.options_allowed}, "
            f"threshold={config.threshold}"
        )
