"""The temporal shift: some channels of a feature map come from the frames before and after."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from .config import ShiftKind

Shift = Callable[[Tensor], Tensor]

# One part of the channels comes from each neighbour, where there are so many parts.
_PARTS = 8
# What a name ends in, the longer first.
_SUFFIXES: dict[str, ShiftKind] = {"_tsm_online": "online", "_tsm": "offline"}


def without_shift(name: str) -> tuple[str, ShiftKind | None]:
    """Return the network that a name is of, and how it shifts: ``resnet50_tsm`` is ``resnet50``.

    Args:
        name: Of an encoder. ``_tsm`` at its end is the shift both ways, ``_tsm_online`` that from
            the past alone; what ``module:attribute`` stands for shifts as its author says.
    """
    shifts = isinstance(name, str) and ":" not in name  # a file may hold anything
    for suffix, kind in _SUFFIXES.items():
        if shifts and name.endswith(suffix):
            return name.removesuffix(suffix), kind
    return name, None


def shift_frames(maps: Tensor, n_frames: int, kind: ShiftKind) -> Tensor:
    """Shift channels along the frames of clips; differentiable.

    Offline, the first eighth of the channels comes from the frame after, the second eighth from the
    frame before; online, the first eighth comes from the frame before. The others stay. Beyond the
    ends of a clip there are zeros.

    Args:
        maps: ``(M·F, channels, h, w)``, the frames of a clip one after the other.
        n_frames: F.
        kind: Both ways, or from the past alone.

    Returns:
        The same shape, in a memory of its own.

    Source: TSM (arXiv:1811.08383) sections 3 and 4; which eighth goes where as in its released
        code, so that its weights fit.
    """
    shifted: Tensor = _ShiftFrames.apply(maps, n_frames, kind == "offline")
    return shifted


@dataclass(frozen=True)
class ClipShift:
    """The shift in clips of F frames whose frames are all given; see `shift_frames`.

    Attributes:
        n_frames: F.
        kind: Both ways, or from the past alone.
    """

    n_frames: int
    kind: ShiftKind

    def __call__(self, maps: Tensor) -> Tensor:
        """Shift maps ``(M·F, channels, h, w)``."""
        return shift_frames(maps, self.n_frames, self.kind)


class ShiftMemory:
    """The shift from the past in videos that come frame by frame: it keeps what the next one needs.

    One belongs to the B videos of one stream, and to one network. What it keeps is an eighth of the
    channels at each place where the network shifts.
    """

    def __init__(self) -> None:
        """Begin before the first frame."""
        self._kept: list[Tensor] = []
        self._place = 0

    def begin_frame(self) -> None:
        """Go back to the first place where the network shifts."""
        self._place = 0

    def __call__(self, maps: Tensor) -> Tensor:
        """Shift the maps ``(B, channels, h, w)`` of the next frame, at the next place."""
        part = maps.shape[1] // _PARTS
        now = maps[:, :part].detach().clone()
        if self._place == len(self._kept):
            self._kept.append(torch.zeros_like(now))
        before, self._kept[self._place] = self._kept[self._place], now
        self._place += 1
        shifted = maps.clone()
        shifted[:, :part] = before
        return shifted


def add_shift(network: fx.GraphModule, before: Collection[str]) -> fx.GraphModule:
    """Let a traced network shift what some of its modules are given; it is changed in place.

    Afterwards it takes two arguments, images and a shift, such as `ClipShift`: it says where maps
    are shifted, and its caller says how.

    Args:
        network: From images to maps.
        before: Paths of the modules; of a residual branch the first, so that what goes around the
            branch is not shifted.

    Raises:
        ValueError: If the network does not call such a module.
    """
    graph = network.graph
    images = next(node for node in graph.nodes if node.op == "placeholder")
    with graph.inserting_after(images):
        shift = graph.placeholder("shift")
    left = set(before)
    for node in list(graph.nodes):
        if node.op == "call_module" and node.target in before:
            with graph.inserting_before(node):
                moved = graph.call_function(_shifted, (node.args[0], shift))
            node.update_arg(0, moved)
            left.discard(str(node.target))
    if left:
        raise ValueError(
            f"expected modules that the network calls, to shift what they are given; it does not "
            f"call {', '.join(sorted(left))}"
        )
    network.recompile()
    return network


def shifted_modules(network: nn.Module) -> set[str]:
    """Return the paths of the modules before which a network shifts; see `add_shift`."""
    if not isinstance(network, fx.GraphModule):
        return set()
    moved = [node for node in network.graph.nodes if node.target is _shifted]
    return {str(user.target) for node in moved for user in node.users}


def _shifted(maps: Tensor, shift: Shift) -> Tensor:
    return shift(maps)


class _ShiftFrames(torch.autograd.Function):
    """Maps are read and written once; the gradient is shifted back in the same way."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, n_frames: int, both_ways: bool) -> Tensor:
        ctx.how = n_frames, both_ways
        return _moved(maps, n_frames, both_ways=both_ways, back=False)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        n_frames, both_ways = ctx.how
        return _moved(gradients[0], n_frames, both_ways=both_ways, back=True), None, None


def _moved(maps: Tensor, n_frames: int, *, both_ways: bool, back: bool) -> Tensor:
    out = torch.empty_like(maps)
    clips, shifted = (each.unflatten(0, (-1, n_frames)) for each in (maps, out))  # (M, F, …)
    part = maps.shape[1] // _PARTS
    from_after = both_ways != back  # of the first part of the channels
    begins = 0
    for _ in range(1 + both_ways):
        of = slice(begins, begins + part)
        if from_after:
            shifted[:, :-1, of] = clips[:, 1:, of]
            shifted[:, -1, of] = 0
        else:
            shifted[:, 1:, of] = clips[:, :-1, of]
            shifted[:, 0, of] = 0
        from_after, begins = not from_after, begins + part
    shifted[:, :, begins:] = clips[:, :, begins:]
    return out
