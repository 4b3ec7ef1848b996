"""The verb ``systems``: which published methods there are."""

from __future__ import annotations

import json
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from ...agents import find_system
from ...agents.systems.registry import SYSTEMS
from ..configs.systems import SystemsConfig
from ..options.parse import tell


class _Other(NamedTuple):
    """A method that is no recipe: a verb of its own runs it."""

    decides: str
    source: str
    command: str


_BEFORE = {
    "adafocus": _Other(
        "where to look in each frame, by PPO", "arXiv:2105.03245", "focusgym train OUT"
    ),
    "adafocus_plus": _Other(
        "where to look, and in which frames", "arXiv:2105.03245", "focusgym train OUT --plus"
    ),
}
_BEHIND = {
    "end_to_end": _Other(
        "AdaFocusV2, all networks from pixels: where to look in each frame; V2+ also when to stop",
        "arXiv:2112.14238",
        "focusgym fit end-to-end OUT --videos VIDEOS, and for V2+ focusgym evaluate OUT --exit-at",
    ),
    "cubes": _Other(
        "AdaFocusV3, all networks from pixels: which cubes to look at, and when to stop",
        "arXiv:2209.13465",
        "focusgym fit cubes OUT --videos VIDEOS",
    ),
    "afnet": _Other(
        "AFNet, from pixels: in each block and frame whether its focal branch runs",
        "NeurIPS 2022",
        "focusgym fit afnet OUT --videos VIDEOS",
    ),
}


def list_systems(config: SystemsConfig) -> dict[str, Any]:
    """Print a line for each system: its name, what it decides, and the publication.

    Of those that have a verb of their own there is also the command.

    Returns:
        By name what it ``decides``, its ``source`` and the ``command`` that trains it; of those
        that ``focusgym train --system`` knows also what it trades accuracy for cost by (``knob``,
        empty if nothing), at which ``settings`` it is compared, and how many ``lines`` it needs,
        see `lines_of`.
    """
    found: dict[str, Any] = {name: each._asdict() for name, each in _BEFORE.items()}
    for name, place in SYSTEMS.items():
        system = find_system(name)
        found[name] = {
            "decides": system.about,
            "source": system.source,
            "command": f"focusgym train OUT --preset {name}",
            "knob": system.knob if len(system.settings) > 1 else "",
            "settings": list(system.settings),
            "lines": lines_of(name, place),
        }
    found |= {name: each._asdict() for name, each in _BEHIND.items()}
    if config.json:
        tell(json.dumps(found))
    else:
        width = max(map(len, found))
        for name, of in found.items():
            command = "" if name in SYSTEMS else f": {of['command']}"
            tell(f"{name:{width}}  {of['decides']} ({of['source']}){command}")
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
