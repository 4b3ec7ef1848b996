"""Residual blocks of an AF network: one that reads every frame, and one that skips frames."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ..encoders.shift import Shift

# A Bottleneck narrows its channels to a quarter.
_NARROWS = 4


class ResidualBlock(nn.Module):
    """A Bottleneck or BasicBlock that reads every frame.

    What goes around the branch is average-pooled where the block has a stride, and goes through a
    1×1 convolution where the numbers of channels differ.

    Source: supplement of AFNet, Table 7; the pooling beside the branch and the normalisation that
        begins at zero are those of its released code, which has Bottlenecks only: BasicBlocks are
        built in the same way.
    """

    def __init__(
        self, n_in: int, n_out: int, *, bottleneck: bool, stride: int = 1, relu: bool = True
    ) -> None:
        """Build a block with random weights.

        Args:
            n_in: Channels before it.
            n_out: Channels after it.
            bottleneck: Whether it is a Bottleneck, or a BasicBlock.
            stride: Of its first 3×3 convolution.
            relu: Whether it ends in a ReLU.
        """
        super().__init__()
        self.branch = _branch(n_in, n_out, stride, 1, bottleneck)
        self.beside = _beside(n_in, n_out, stride)
        self.relu = relu
        nn.init.zeros_(self.branch[-1].weight)  # type: ignore[arg-type]  # of a BatchNorm2d

    def forward(self, maps: Tensor, shift: Shift | None) -> Tensor:
        """Return maps ``(B·T, n_out, h′, w′)`` of maps ``(B·T, n_in, h, w)``."""
        read = maps if shift is None else shift(maps)
        added: Tensor = self.branch(read).add_(self.beside(maps))
        return added.relu_() if self.relu else added


class FocalBlock(nn.Module):
    """A Bottleneck or BasicBlock whose branch is multiplied by a mask, or skips what it is 0 for.

    The mask multiplies what the branch is given, after the shift. What goes around the branch is
    not masked. So a frame that is not kept still gets what the branch makes of zeros, because its
    normalisations add to them: the same map for every such frame. Where frames are gathered, the
    branch runs on those that are kept, and the map for the others is computed once, and once more
    when a weight has changed.

    Source: supplement of AFNet, section 6. Its text scatters the kept frames into zeros, its
        released code masks as is done here; gathering here equals the code, not the text.
    """

    def __init__(
        self, n_in: int, n_out: int, *, bottleneck: bool, groups: int, relu: bool = True
    ) -> None:
        """Build a block with random weights; see `ResidualBlock`.

        Args:
            n_in: Channels before it.
            n_out: Channels after it.
            bottleneck: Whether it is a Bottleneck, or a BasicBlock.
            groups: Of the branch's convolutions.
            relu: Whether it ends in a ReLU.
        """
        super().__init__()
        self.branch = _branch(n_in, n_out, 1, groups, bottleneck)
        self.beside = _beside(n_in, n_out, 1)
        self.relu = relu
        self._of_zeros: tuple[tuple[object, ...], Tensor] | None = None

    def forward(
        self, maps: Tensor, weights: Tensor, shift: Shift | None, positions: Tensor | None = None
    ) -> Tensor:
        """Compute every frame.

        Args:
            maps: ``(B·T, n_in, h, w)``.
            weights: ``(B·T,)``, the mask.
            shift: How channels are shifted along the frames; None if they are not.
            positions: ``(B·T, 1, h, w)``, another mask; None is without.

        Returns:
            ``(B·T, n_out, h, w)``.
        """
        mask = weights[:, None, None, None]
        mask = mask if positions is None else mask * positions
        read = (maps if shift is None else shift(maps)) * mask
        added: Tensor = self.branch(read).add_(self.beside(maps))
        return added.relu_() if self.relu else added

    @torch.no_grad()
    def gathered(
        self, maps: Tensor, kept: Tensor, shift: Shift | None, positions: Tensor | None = None
    ) -> Tensor:
        """Run the branch on the kept frames alone; equal to `forward`, without a gradient.

        Args:
            maps: ``(B·T, n_in, h, w)``.
            kept: ``(B·T,)`` bool.
            shift: How channels are shifted along the frames; None if they are not.
            positions: ``(B·T, 1, h, w)``, a mask of the kept frames; None is without.

        Returns:
            ``(B·T, n_out, h, w)``.

        Raises:
            RuntimeError: In training mode, in which normalisations depend on every frame.
        """
        if self.training:
            raise RuntimeError(
                "gathering needs eval mode, in which a frame does not depend on the others' "
                "normalisation; got a network in training mode: call eval(), or do not gather"
            )
        rows = kept.nonzero().squeeze(1)
        if len(rows) == len(kept):
            read = maps if shift is None else shift(maps)
            read = read if positions is None else read * positions
            added: Tensor = self.branch(read).add_(self.beside(maps))
            return added.relu_() if self.relu else added
        beside, constant = self.beside(maps), self._zero_map(maps)
        out = beside + constant if beside is maps else beside.add_(constant)
        if len(rows):
            read = _rows(maps if shift is None else shift(maps), rows)
            read = read if positions is None else read * positions[rows]
            more = self.branch(read).sub_(constant)
            out.permute(0, 2, 3, 1).index_add_(0, rows, more.to(out.dtype).permute(0, 2, 3, 1))
        return out.relu_() if self.relu else out

    def _zero_map(self, like: Tensor) -> Tensor:
        """Return ``(1, n_out, h, w)``, what the branch makes of a frame of zeros."""
        device = like.device.type
        cast = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
        key = (like.shape[1:], like.dtype, like.device, cast, *_versions(self.branch))
        if self._of_zeros is None or self._of_zeros[0] != key:
            zeros = torch.zeros_like(like[:1], memory_format=torch.channels_last)
            self._of_zeros = key, self.branch(zeros)
        constant: Tensor = self._of_zeros[1]
        return constant


def _versions(module: nn.Module) -> Iterator[tuple[int, int]]:
    """Yield what changes with the weights: where each of them lies, and how often it was written.

    Loading a state dict and an optimizer's step write in place; moving to a device moves.
    """
    for tensor in (*module.parameters(), *module.buffers()):
        yield tensor.data_ptr(), tensor._version


def _rows(maps: Tensor, rows: Tensor) -> Tensor:
    """Return some frames of maps, channels last in memory as the maps are."""
    return maps.permute(0, 2, 3, 1).index_select(0, rows).permute(0, 3, 1, 2)


def _branch(n_in: int, n_out: int, stride: int, groups: int, bottleneck: bool) -> nn.Sequential:
    """Return convolutions, each with its normalisation, with ReLUs between them."""
    if bottleneck:
        inner = n_out // _NARROWS
        sizes = [(n_in, inner, 1, 1), (inner, inner, 3, stride), (inner, n_out, 1, 1)]
    else:
        sizes = [(n_in, n_out, 3, stride), (n_out, n_out, 3, 1)]
    layers: list[nn.Module] = []
    for before, after, side, step in sizes:
        conv = nn.Conv2d(before, after, side, step, side // 2, groups=groups, bias=False)
        layers += [conv, nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers[:-1])


def _beside(n_in: int, n_out: int, stride: int) -> nn.Sequential:
    """Return what goes around a branch; empty where nothing has to change."""
    layers: list[nn.Module] = []
    if stride > 1:
        layers.append(nn.AvgPool2d(3, stride, padding=1))
    if n_in != n_out:
        layers += [nn.Conv2d(n_in, n_out, 1, bias=False), nn.BatchNorm2d(n_out)]
    return nn.Sequential(*layers)
