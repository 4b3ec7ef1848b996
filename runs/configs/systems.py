"""What the verb ``systems`` takes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SystemsConfig:
    """List the published methods that 'focusgym train --system' knows, with a line each.

    Attributes:
        json: Print one JSON object by name, and nothing else.
    """

    json: bool = False
