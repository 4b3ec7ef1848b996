"""What an AF network costs: multiply-adds of what always runs, and of each frame that is kept."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..accounting.compute import count_gmacs
from .blocks import FocalBlock
from .network import AFNet


@dataclass(frozen=True)
class AFNetCost:
    """Multiply-adds of an AF network on a video, in GMACs.

    Attributes:
        always_gmacs: Of all but the focal branches, on the T frames of a video: stem, gates, ample
            branches, what goes around the focal ones, fusions, the blocks after them, and the head.
        focal_gmacs: Of the focal branch of each gated block, on one frame.
    """

    always_gmacs: float
    focal_gmacs: tuple[float, ...]

    def of_videos(self, ran: Tensor) -> Tensor:
        """Return what each video costs.

        Args:
            ran: ``(B, T, gates)``, whether a block's focal branch was computed for a frame; see
                `AFNetOutput`.

        Returns:
            ``(B,)`` float64, GMACs. What a focal branch makes of zeros is computed once for all
            videos, and is not part of it.

        Raises:
            ValueError: If it is for another number of gates.
        """
        return self.always_gmacs + self._focal(ran).sum(dim=1)

    def of_frames(self, ran: Tensor, n_frames: int) -> Tensor:
        """Return what each frame costs, of videos that come frame by frame.

        Args:
            ran: ``(B, n, gates)``, of n frames; see `of_videos`.
            n_frames: T.

        Returns:
            ``(B, n)`` float64, GMACs; those of all T frames add up to what `of_videos` returns.

        Raises:
            ValueError: If it is for another number of gates.
        """
        return self.always_gmacs / n_frames + self._focal(ran)

    def _focal(self, ran: Tensor) -> Tensor:
        """Return the GMACs of the focal branches in each frame."""
        if ran.ndim != 3 or ran.shape[2] != len(self.focal_gmacs):
            raise ValueError(
                f"expected (B, T, {len(self.focal_gmacs)}), one of each gate; got "
                f"{tuple(ran.shape)}"
            )
        prices = torch.tensor(self.focal_gmacs, dtype=torch.float64, device=ran.device)
        return ran.double() @ prices

    def share_of(self, gmacs: float, n_frames: int) -> float:
        """Return which share of the focal branches' compute on T frames a video's GMACs hold."""
        return (gmacs - self.always_gmacs) / (n_frames * sum(self.focal_gmacs))

    def at_ratio(self, ratio: float, n_frames: int) -> float:
        """Return the GMACs of a video of which each block keeps that share of the T frames."""
        return self.always_gmacs + ratio * n_frames * sum(self.focal_gmacs)


def afnet_cost(network: AFNet, side_px: int) -> AFNetCost:
    """Count the multiply-adds of a network on videos of frames of the given side.

    Nothing is computed: torch counts on tensors without data.
    """
    empty = copy.deepcopy(network).to("meta").eval()
    inputs: dict[nn.Module, tuple[int, ...]] = {}

    def note(branch: nn.Module, args: tuple[Tensor, ...]) -> None:
        inputs[branch] = (1, *args[0].shape[1:])

    branches = [module.branch for module in empty.modules() if isinstance(module, FocalBlock)]
    handles = [branch.register_forward_pre_hook(note) for branch in branches]
    n_frames = empty.config.n_frames
    frames = torch.zeros(1, n_frames, 3, side_px, side_px, dtype=torch.uint8, device="meta")
    total_gmacs = count_gmacs(lambda: empty(frames))
    for handle in handles:
        handle.remove()
    focal = [_branch_gmacs(branch, inputs[branch]) for branch in branches]
    return AFNetCost(total_gmacs - n_frames * sum(focal), tuple(focal))


def _branch_gmacs(branch: nn.Module, shape: tuple[int, ...]) -> float:
    return count_gmacs(lambda: branch(torch.zeros(shape, device="meta")))
