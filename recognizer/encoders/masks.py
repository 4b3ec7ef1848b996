"""Mask profiles: which channels are computed, taken from an earlier frame, or skipped."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, fx, nn

from .shift import Shift, add_shift

_SUFFIX = re.compile(r"([^:]+?)_reuse(\d{1,2})(?:_skip(\d{1,2}))?")


@dataclass(frozen=True)
class MaskProfile:
    """Which channels inside the blocks of a network are not computed, the same in every frame.

    The first channels are computed, the next ones are taken from an earlier frame, and the last
    ones are skipped: they are zeros.

    Attributes:
        reused: Share of the channels that are taken from an earlier frame.
        skipped: Share of the channels that are zeros.

    Raises:
        ValueError: If nothing would be computed.
    """

    reused: float = 0.0
    skipped: float = 0.0

    def __post_init__(self) -> None:
        """Check the shares."""
        if not (self.reused >= 0 and self.skipped >= 0 and self.reused + self.skipped < 1):
            raise ValueError(
                "a mask profile computes some channels: expected shares that are reused and "
                f"skipped, of less than 1 together; got {self.reused:g} and {self.skipped:g}"
            )

    def parts(self, channels: int) -> tuple[slice, slice]:
        """Return which of so many channels are reused, and which are skipped."""
        ends = channels - round(self.skipped * channels)
        return slice(max(0, ends - round(self.reused * channels)), ends), slice(ends, channels)

    def alone(self, maps: Tensor) -> Tensor:
        """Mask maps ``(M, channels, h, w)`` of frames that stand in for the frames before them."""
        masked = maps.clone()
        masked[:, self.parts(maps.shape[1])[1]] = 0
        return masked

    def in_pairs(self, maps: Tensor) -> Tensor:
        """Mask maps ``(2·M, channels, h, w)`` of pairs: a frame computed in full, and the next."""
        masked = maps.clone()
        reused, skipped = self.parts(maps.shape[1])
        masked[1::2, reused] = maps[::2, reused]
        masked[1::2, skipped] = 0
        return masked


def without_masks(name: str) -> tuple[str, MaskProfile | None]:
    """Return the network that a name is of, and its profile.

    ``resnet50_reuse50`` reuses half of the channels; ``resnet50_reuse50_skip25`` skips a quarter
    besides; ``resnet50_reuse0`` computes all.

    Args:
        name: Of an encoder; what ``module:attribute`` stands for has no profile.

    Raises:
        ValueError: If nothing would be computed.
    """
    match = _SUFFIX.fullmatch(name) if isinstance(name, str) else None  # a file may hold anything
    if match is None:
        return name, None
    return match[1], MaskProfile(int(match[2]) / 100, int(match[3] or 0) / 100)


def add_masks(
    network: fx.GraphModule, blocks: Collection[tuple[str, str]], profile: MaskProfile
) -> fx.GraphModule:
    """Let a traced network mask what the second convolution of each block is given; in place.

    It is the output of the first one, after normalisation and activation. Afterwards the network
    takes a second argument, which says how, see `add_shift`. The price of what is not computed is
    noted on the convolutions, as ``mac_share``.

    Args:
        network: From images to maps.
        blocks: Paths of the first and of the second convolution of each block.
        profile: Which channels are reused, and which are skipped.

    Raises:
        ValueError: If the network does not call such a module.
    """
    add_shift(network, [second for _, second in blocks])
    for paths in blocks:
        first, second = (network.get_submodule(path) for path in paths)
        assert isinstance(first, nn.Conv2d)
        channels = first.out_channels
        reused, skipped = (part.stop - part.start for part in profile.parts(channels))
        first.mac_share = (channels - reused - skipped) / channels
        second.mac_share = (channels - skipped) / channels
    return network


class ReuseMemory:
    """The channels of each of N videos as they were last computed, whatever the profile.

    It belongs to one network at one side; profiles of it take turns.
    """

    def __init__(self, n_videos: int) -> None:
        """Begin with videos of which nothing was computed yet; their first frames are in full."""
        self._kept: list[Tensor] = []
        self._holds = torch.zeros(n_videos, dtype=torch.bool)
        self._place = 0

    def begin(self, rows: Tensor, profile: MaskProfile) -> Shift:
        """Return what masks the next frames of different videos ``(M,)``."""
        self._place = 0
        return partial(self._mask, rows=rows, profile=profile)

    def end(self, rows: Tensor) -> None:
        """Note that these videos have been computed."""
        self._holds[rows] = True

    def _mask(self, maps: Tensor, rows: Tensor, profile: MaskProfile) -> Tensor:
        if self._place == len(self._kept):
            self._kept.append(maps.new_zeros(len(self._holds), *maps.shape[1:]))
        kept = self._kept[self._place]
        self._place += 1
        known = self._holds[rows].to(maps.device)[:, None, None, None]
        earlier = torch.where(known, kept[rows], maps)
        reused, skipped = profile.parts(maps.shape[1])
        masked = maps.clone()
        masked[:, reused], masked[:, skipped] = earlier[:, reused], earlier[:, skipped]
        kept[rows] = masked
        masked[:, skipped] = 0
        return masked
