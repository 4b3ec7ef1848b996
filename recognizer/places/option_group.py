"""Option groups: places with the encoder that reads them, its width and its price."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ..files.typed import typed
from .places import Places, read_places


@dataclass(frozen=True)
class OptionGroup:
    """Options of one kind of places and one encoder.

    Attributes:
        name: Of the group; its array in a cache is ``local_vectors_NAME``.
        places: Where the K options are.
        encoder: Name of the encoder that reads them, among those of a cache.
        channels: L, the width of the local vectors.
        gmacs: Multiply-adds of the encoder on one option, in all frames of a segment.
        segment_frames: F, the frames of a segment that ``gmacs`` counts.

    Raises:
        ValueError: If a name has characters other than letters, digits, ``_``, ``-`` and ``.``, or
            a number is not positive.
    """

    name: str
    places: Places
    encoder: str
    channels: int
    gmacs: float
    segment_frames: int = 1

    def __post_init__(self) -> None:
        """Check the names, which become names of files, and the numbers."""
        for what, name in (("option group", self.name), ("encoder", self.encoder)):
            if not isinstance(name, str) or not is_file_name(name):
                raise ValueError(
                    f"the name of an {what} must be of letters, digits, '_', '-' and '.'; got "
                    f"{name!r}"
                )
        if self.channels < 1 or not self.gmacs > 0:
            raise ValueError(
                f"an option group has a positive width and price; got {self.channels} channels and "
                f"{self.gmacs} GMACs"
            )
        if self.segment_frames < 1:
            raise ValueError(
                f"the price of an option is of at least one frame; got {self.segment_frames}"
            )

    def describe(self) -> dict[str, Any]:
        """Return everything but the name, JSON-able; F only where it is more than 1."""
        described = {
            "places": asdict(self.places),
            "encoder": self.encoder,
            "channels": self.channels,
            "gmacs": self.gmacs,
        }
        if self.segment_frames > 1:
            described["segment_frames"] = self.segment_frames
        return described

    @classmethod
    def read(cls, name: str, description: Mapping[str, Any]) -> OptionGroup:
        """Return the group that `describe` described.

        Raises:
            ValueError: If keys are missing or unknown, or a value is wrong.
        """
        parts = typed(_Description, description, name)
        places = read_places(parts.places)
        return cls(name, places, parts.encoder, parts.channels, parts.gmacs, parts.segment_frames)


@dataclass(frozen=True)
class _Description:
    """What `OptionGroup.describe` returns."""

    places: dict[str, Any]
    encoder: str
    channels: int
    gmacs: float
    segment_frames: int = 1


def is_file_name(name: str) -> bool:
    """Say whether a name of a group or of an encoder can be that of a file."""
    return name.strip(".") != "" and all(c.isalnum() or c in "_-." for c in name)
