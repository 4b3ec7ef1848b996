"""The verb ``systems``: which published methods there are."""

from __future__ import annotations

import json
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any

from ...agents import find_system
from ...agents.systems.registry import SYSTEMS
from ..configs.systems import SystemsConfig
from ..options.parse import tell


def list_systems(config: SystemsConfig) -> dict[str, Any]:
    """Print a line for each system: its name, what it decides, and the publication.

    Returns:
        By name what it ``decides``, its ``source``, what it trades accuracy for cost by (``knob``,
        empty if nothing), at which ``settings`` it is compared, and how many ``lines`` it needs,
        see `lines_of`.
    """
    found: dict[str, Any] = {}
    for name, place in SYSTEMS.items():
        system = find_system(name)
        found[name] = {
            "decides": system.about,
            "source": system.source,
            "knob": system.knob if len(system.settings) > 1 else "",
            "settings": list(system.settings),
            "lines": lines_of(name, place),
        }
    if config.json:
        tell(json.dumps(found))
    else:
        width = max(map(len, found))
        for name, of in found.items():
            tell(f"{name:{width}}  {of['decides']} ({of['source']})")
    return found


def lines_of(name: str, place: str) -> dict[str, int]:
    """Return how many lines of files a system has of its own, comments and blank ones too.

    Args:
        name: Of the system, and of its preset.
        place: Of its recipe, ``module:attribute``. Recipes of one paper share a module, which is
            counted for each of them.

    Returns:
        Of the ``recipe``, its module, and of its ``preset``. Environments, networks and trainings
        that it has in common with others are counted in none.
    """
    module = import_module(place.partition(":")[0])
    assert module.__file__ is not None
    texts = {
        "recipe": Path(module.__file__).read_text(encoding="utf-8"),
        "preset": (files("focusgym.runs.presets") / f"{name}.yaml").read_text(encoding="utf-8"),
    }
    return {what: len(text.splitlines()) for what, text in texts.items()}
