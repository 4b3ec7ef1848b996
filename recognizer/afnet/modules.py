"""The AF module: two branches through the blocks of a stage, a gate for each, and their fusion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..encoders.shift import Shift
from .blocks import FocalBlock, ResidualBlock
from .config import AFNetConfig
from .gates import Navigation, SpatialNavigation, select

# What the channels are divided by between the two layers of the fusion.
_REDUCES = 16


class Gating(NamedTuple):
    """How the gates of a call decide, and what follows.

    Attributes:
        temperature: τ of `select`.
        draws: ``(B, T, gates)`` uniform in [0, 1) for the gates' noise; None: none.
        masks: ``(B, T, gates)``, masks that stand in the place of the gates'; None: the gates'.
        gather: Whether focal branches run on the kept frames alone.
        frame: The frame of the videos that the call is about, from 0; None: all T.
    """

    temperature: float
    draws: Tensor | None
    masks: Tensor | None
    gather: bool
    frame: int | None = None

    def part(self, start: int, end: int) -> Gating:
        """Return that of some gates."""
        draws, masks = (
            None if each is None else each[:, :, start:end] for each in (self.draws, self.masks)
        )
        return self._replace(draws=draws, masks=masks)


class Gated(NamedTuple):
    """What the gates of a block decided.

    Attributes:
        mask: ``(B, T)``; see `AFNetOutput`.
        positions: ``(B, T)``, shares of positions.
        margin: ``(B, T)``; see `Navigation`.
    """

    mask: Tensor
    positions: Tensor
    margin: Tensor


class DynamicFusion(nn.Module):
    """Weights of the channels of two branches, from the pooled sum of both.

    Source: AFNet's dynamic fusion as its released code has it.
    """

    def __init__(self, channels: int, *, bias: bool = False) -> None:
        """Build it with weights near zero, which average the branches."""
        super().__init__()
        inner = max(1, channels // _REDUCES)
        self.layers = nn.Sequential(
            nn.Linear(channels, inner, bias=bias),
            nn.ReLU(inplace=True),
            nn.Linear(inner, channels, bias=bias),
        )
        for layer in self.layers[::2]:
            nn.init.normal_(layer.weight, 0.0, 0.01)  # type: ignore[arg-type]  # of a Linear

    def forward(self, ample: Tensor, focal: Tensor) -> Tensor:
        """Return the weighted sum of two maps ``(B·T, C, h, w)``."""
        weights = torch.sigmoid(self.layers((ample + focal).mean(dim=(2, 3))))[:, :, None, None]
        return torch.lerp(focal, ample, weights)


class BlockPair(nn.Module):
    """A block of the ample branch, one of the focal branch, and the gate of the latter."""

    def __init__(
        self, config: AFNetConfig, channels: int, ample: ResidualBlock, focal: FocalBlock
    ) -> None:
        """Join two blocks, and add gates with random weights.

        Args:
            config: Sizes of the whole network.
            channels: Of the ample branch before its block.
            ample: The block of the ample branch.
            focal: That of the focal branch.
        """
        super().__init__()
        self.navigation = Navigation(channels, config.n_frames, config.keep_score)
        self.spatial = SpatialNavigation(channels) if config.spatial else None
        self.ample, self.focal = ample, focal
        self._soft = config.selection == "soft"

    def forward(
        self, ample: Tensor, focal: Tensor, gating: Gating, shift: Shift | None
    ) -> tuple[Tensor, Tensor, Gated]:
        """Return the maps of both branches after it, and what the gates decided.

        Args:
            ample: ``(B·T, …)`` maps of the ample branch, which the gate sees as well.
            focal: ``(B·T, …)`` maps of the focal branch.
            gating: Of this gate alone.
            shift: How channels are shifted along the frames; None if they are not.
        """
        margin = self.navigation(ample, gating.frame)
        mask = self._mask(margin, gating)
        positions, shares = self._positions(ample, focal, gating), torch.ones_like(mask)
        if positions is not None:
            shares = positions.mean(dim=(1, 2, 3)).view_as(mask)
        if gating.gather and not self._soft:
            focal = self.focal.gathered(focal, mask.flatten() > 0, shift, positions)
        else:
            focal = self.focal(focal, mask.flatten(), shift, positions)
        return self.ample(ample, shift), focal, Gated(mask, shares, margin)

    def _positions(self, ample: Tensor, focal: Tensor, gating: Gating) -> Tensor | None:
        """Return the mask ``(B·T, 1, h, w)`` of the focal branch's positions; None without."""
        if self.spatial is None:
            return None
        margin = self.spatial(ample)[:, None]
        mask = margin.sigmoid() if self._soft else select(margin, gating.temperature)
        return functional.interpolate(mask, size=focal.shape[2:])  # nearest

    def _mask(self, margin: Tensor, gating: Gating) -> Tensor:
        if gating.masks is not None:
            return gating.masks[:, :, 0].to(margin)
        if self._soft:
            return margin.sigmoid()
        if gating.draws is None:
            return select(margin - self.navigation.threshold, gating.temperature)
        return select(margin, gating.temperature, gating.draws[:, :, 0])


class AFModule(nn.Module):
    """A stage of an AF network.

    Pairs of blocks: an ample one, for every frame, with fewer channels at half the resolution; and
    a focal one, for the frames that a gate keeps, with all channels at the full resolution. A gate
    sees what the ample branch gave before its block. Then the ample branch goes back to all
    channels and, from the nearest pixel, to the full resolution; the branches are joined, and one
    more block follows.

    Source: supplement of AFNet, Table 7; what a gate sees, and that the ReLU of a ResNet's last
        pair follows the fusion, are its released code's.
    """

    def __init__(
        self,
        pairs: Sequence[BlockPair],
        widen: nn.Sequential,
        fusion: DynamicFusion | None,
        last: ResidualBlock,
        *,
        relu: bool,
    ) -> None:
        """Take the parts.

        Args:
            pairs: One after the other.
            widen: What brings the ample branch back to all channels; empty if it has them.
            fusion: Weights of the branches; None adds them.
            last: The block after the fusion.
            relu: Whether a ReLU follows the fusion.
        """
        super().__init__()
        self.pairs, self.widen = nn.ModuleList(pairs), widen
        self.fusion, self.last, self.relu = fusion, last, relu

    def forward(
        self, maps: Tensor, gating: Gating, shift: Shift | None
    ) -> tuple[Tensor, list[Gated]]:
        """Run the stage.

        Args:
            maps: ``(B·T, n_in, h, w)``.
            gating: Of its gates.
            shift: How channels are shifted along the frames; None if they are not.

        Returns:
            ``(B·T, n_out, h′, w′)``, and what the gates of each pair of blocks decided.
        """
        ample = focal = maps
        decided: list[Gated] = []
        for i, pair in enumerate(self.pairs):
            ample, focal, gated = pair(ample, focal, gating.part(i, i + 1), shift)
            decided.append(gated)
        ample = functional.interpolate(self.widen(ample), size=focal.shape[2:])  # nearest
        joined = ample + focal if self.fusion is None else self.fusion(ample, focal)
        return self.last(joined.relu() if self.relu else joined, shift), decided
