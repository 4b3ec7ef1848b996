"""Which option groups of a cache are of a system's kind, by the networks that read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...recognizer import OptionGroup
from ...recognizer.encoders.masks import without_masks
from ...recognizer.encoders.quantised import without_bits

# An option group of a cache, and the name of the network that reads it.
Stored = tuple[OptionGroup, str]


@dataclass(frozen=True)
class Encoders:
    """Selects the option groups whose network has `part` in its name.

    Quantised networks and mask profiles are left out (docs/your-encoder.md). A subclass that
    overrides `among` may choose differently.

    Attributes:
        part: Text to look for; empty for any. Messages and recipes show it even where `among`
            ignores it.
        of_clips: Whether they are for segments of several frames, in which they shift channels.
    """

    part: str = ""
    of_clips: bool = False

    def among(self, stored: Sequence[Stored]) -> list[OptionGroup]:
        """Return the option groups that are read by such networks.

        Args:
            stored: Option groups of the system's kind of places.
        """
        return [
            group
            for group, network in stored
            if self.part in network and _bits(network) is None and _profile(network) is None
        ]


class FewBits(Encoders):
    """Networks of few bits, and the same networks at 32 bits and the same input side."""

    def among(self, stored: Sequence[Stored]) -> list[OptionGroup]:
        """Return the option groups that are read by such networks.

        Empty if the cache has no such 32-bit network.
        """
        few = [(group, network) for group, network in stored if _bits(network) is not None]
        same = {(without_bits(network)[0], group.places.side_px) for group, network in few}
        full = [group for group, network in stored if (network, group.places.side_px) in same]
        return [group for group, _ in few] + full if full else []


class MaskProfiles(Encoders):
    """Mask profiles of a network."""

    def among(self, stored: Sequence[Stored]) -> list[OptionGroup]:
        """Return the option groups that are read by such networks."""
        return [group for group, network in stored if _profile(network) is not None]


def _bits(network: str) -> object:
    return without_bits(network)[1]


def _profile(network: str) -> object:
    return without_masks(network)[1]


ANY = Encoders()
SHIFTING = Encoders("_tsm", of_clips=True)
FEW_BITS = FewBits("bit")
MASK_PROFILES = MaskProfiles("_reuse")
