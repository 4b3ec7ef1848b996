"""The verb ``systems``: which published methods there are."""

from __future__ import annotations

import json
from typing import Any

from ...agents import find_system
from ...agents.systems.registry import SYSTEMS
from ..configs.systems import SystemsConfig
from ..options.parse import tell


def list_systems(config: SystemsConfig) -> dict[str, Any]:
    """Print a line for each system: its name, what it decides, and the publication.

    Returns:
        By name what it ``decides``, its ``source``, what it trades accuracy for cost by (``knob``,
        empty if nothing), and at which ``settings`` it is compared.
    """
    found: dict[str, Any] = {}
    for name in SYSTEMS:
        system = find_system(name)
        found[name] = {
            "decides": system.about,
            "source": system.source,
            "knob": system.knob if len(system.settings) > 1 else "",
            "settings": list(system.settings),
        }
    if config.json:
        tell(json.dumps(found))
    else:
        width = max(map(len, found))
        for name, of in found.items():
            tell(f"{name:{width}}  {of['decides']} ({of['source']})")
    return found
