"""The parts of an AF network, whatever its backbone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from .blocks import ResidualBlock
from .modules import AFModule


@dataclass(frozen=True)
class Body:
    """What an AF network runs, in this order, before its last layer; random weights.

    Attributes:
        stem: From normalised images to maps.
        before: Blocks before the AF modules.
        stages: AF modules.
        after: Blocks after them.
        tail: Layers on the last maps; may be empty.
        hidden: Layers on the pooled maps of a frame; may be empty.
        channels: Width of what the last block gives.
    """

    stem: nn.Sequential
    before: Sequence[ResidualBlock]
    stages: Sequence[AFModule]
    after: Sequence[ResidualBlock]
    tail: nn.Sequential
    hidden: nn.Sequential
    channels: int
