"""Blocks of an AF network: one that reads every frame, and one that skips frames."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ..encoders.shift import Shift


class ResidualBlock(nn.Module):
    """A block that reads every frame: a branch, what goes around it, and a ReLU where it has one.

    Attributes:
        branch: Convolutions and normalisations.
        beside: What goes around the branch and is added to it; None if nothing does.
        relu: Whether it ends in a ReLU.
    """

    def __init__(self, branch: nn.Sequential, beside: nn.Sequential | None, *, relu: bool) -> None:
        """Take the parts."""
        super().__init__()
        self.branch, self.beside, self.relu = branch, beside, relu

    def forward(self, maps: Tensor, shift: Shift | None) -> Tensor:
        """Return maps ``(B·T, n_out, h′, w′)`` of maps ``(B·T, n_in, h, w)``."""
        added: Tensor = self.branch(maps if shift is None else shift(maps))
        if self.beside is not None:
            added.add_(self.beside(maps))
        return added.relu_() if self.relu else added


class FocalBlock(nn.Module):
    """A block whose branch is multiplied by a mask, or skips the frames for which it is 0.

    The mask multiplies what the branch is given, after the shift. What goes around the branch is
    not masked. So a frame that is not kept still gets what the branch makes of zeros, because its
    normalisations add to them: the same map for every such frame. Where frames are gathered, the
    branch runs on those that are kept, and the map for the others is computed once, and once more
    when a weight has changed.

    Source: supplement of AFNet, section 6. Its text scatters the kept frames into zeros, its
        released code masks as is done here; gathering here equals the code, not the text.
    """

    def __init__(self, branch: nn.Sequential, beside: nn.Sequential, *, relu: bool) -> None:
        """Take the parts; see `ResidualBlock`."""
        super().__init__()
        self.branch, self.beside, self.relu = branch, beside, relu
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
        """Run the branch on the kept frames alone; in eval mode equal to `forward`, no gradient.

        Args:
            maps: ``(B·T, n_in, h, w)``.
            kept: ``(B·T,)`` bool.
            shift: How channels are shifted along the frames; None if they are not.
            positions: ``(B·T, 1, h, w)``, a mask of the kept frames; None is without.

        Returns:
            ``(B·T, n_out, h, w)``.
        """
        # Also where no frame is kept: a memory of the frames before is to have this one.
        shifted = maps if shift is None else shift(maps)
        rows = kept.nonzero().squeeze(1)
        if len(rows) == len(kept):
            read = shifted if positions is None else shifted * positions
            added: Tensor = self.branch(read).add_(self.beside(maps))
            return added.relu_() if self.relu else added
        beside, constant = self.beside(maps), self._zero_map(maps)
        out = beside + constant if beside is maps else beside.add_(constant)
        if len(rows):
            read = _rows(shifted, rows)
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

    Loading a state dict and an optimizer's step write in place; moving to a device moves. What was
    made in inference mode has no such count.
    """
    for tensor in (*module.parameters(), *module.buffers()):
        yield tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version


def _rows(maps: Tensor, rows: Tensor) -> Tensor:
    """Return some frames of maps, channels last in memory as the maps are."""
    return maps.permute(0, 2, 3, 1).index_select(0, rows).permute(0, 3, 1, 2)
