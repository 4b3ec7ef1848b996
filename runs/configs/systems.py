"""What the verb ``systems`` takes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SystemsConfig:
    """List the published methods, with a line each.

    What has no command in its line is trained by 'focusgym train OUT --preset NAME'.

    Attributes:
        json: Print one JSON object by name, and nothing else.
    """

    json: bool = False
