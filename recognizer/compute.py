"""Compute accounting: multiply-adds counted by torch on the real modules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from .classifier import Classifier
from .geometry import PatchGrid
from .policy import PolicyNetwork


@dataclass(frozen=True)
class FrameCost:
    """Multiply-adds of each network on one frame, in GMACs.

    Attributes:
        glance_gmacs: f_G on the frame.
        local_gmacs: f_L on one patch.
        policy_gmacs: One step of π, actor included, and of π′ where there is one.
        classifier_gmacs: One step of f_C.
    """

    glance_gmacs: float
    local_gmacs: float
    policy_gmacs: float
    classifier_gmacs: float

    def per_video(
        self, steps: int, *, policy: bool, patches: int = 1, kept_share: float = 1.0
    ) -> float:
        """Return the GMACs of a video of ``steps`` frames.

        Args:
            steps: T.
            policy: Whether the policy network is run; a fixed policy pays none.
            patches: Patches that f_L and f_C are run on at each frame: 1, or K for the oracle,
                which tries them all.
            kept_share: Share of the frames that are looked at, in [0, 1]: f_L runs on no other; all
                else runs on every frame.
        """
        look = patches * (kept_share * self.local_gmacs + self.classifier_gmacs)
        return steps * (self.glance_gmacs + look + policy * self.policy_gmacs)


def count_gmacs(run: Callable[[], object]) -> float:
    """Return the multiply-adds of the matrix products and convolutions that ``run`` does, in G.

    Two floating-point operations are one multiply-add. On CPU: a fused CUDA GRU is not counted.
    """
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        run()
    return float(counter.get_total_flops()) / 2e9


def encoder_gmacs(encoder: nn.Module, side_px: int) -> float:
    """Return the GMACs of an encoder on one image of the given side."""
    encoder.eval()
    return count_gmacs(lambda: encoder(torch.zeros(1, 3, side_px, side_px, dtype=torch.uint8)))


def frame_cost(
    glance_encoder: nn.Module,
    local_encoder: nn.Module,
    classifier: Classifier,
    policy: PolicyNetwork,
    grid: PatchGrid,
) -> FrameCost:
    """Count the multiply-adds of the networks on one frame, by running each once on zeros."""
    glance = torch.zeros(1, 1, classifier.config.glance_channels)
    local = torch.zeros(1, 1, classifier.config.local_channels)
    config = policy.config
    maps = torch.zeros(1, 1, config.map_height, config.map_width, config.glance_channels)
    return FrameCost(
        glance_gmacs=encoder_gmacs(glance_encoder, grid.frame_px),
        local_gmacs=encoder_gmacs(local_encoder, grid.patch_px),
        policy_gmacs=count_gmacs(lambda: policy.choose(maps)),
        classifier_gmacs=count_gmacs(lambda: classifier(glance, local)),
    )
