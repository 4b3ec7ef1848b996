"""The verb ``systems``: which published methods there are."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from ...agents import LearnedSystem, find_system
from ...agents.systems.registry import SYSTEMS
from ...envs.tasks.registry import config_class
from ..configs.systems import SystemsConfig
from ..options.parse import print_line

_PACKAGE = Path(__file__).parents[2]


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

_NETWORK = "recognizer/policies"
_CLIP = ("agents/clip_actor.py", "envs/engine/clips.py", f"{_NETWORK}/clips.py")
_ATTENTION = f"{_NETWORK}/attention.py"
_SHIFT = ("recognizer/encoders/shift.py",)
# Files of the package, and patterns of such, that are there for one publication, beside that of the
# task that its recipe names.
OWN_FILES: dict[str, tuple[str, ...]] = {
    "adafocus": (
        "agents/ppo/*.py",
        "agents/train.py",
        "agents/validation.py",
        "envs/tasks/adafocus.py",
        f"{_NETWORK}/policy.py",
    ),
    "adafocus_plus": ("agents/budget.py", "agents/ppo/dual.py"),
    "tsm": _SHIFT,
    "tsm_plus": _SHIFT,
    "adafocus_tsm": ("agents/clips.py", "envs/engine/clips.py", f"{_NETWORK}/clips.py"),
    "adafocus_tsm_ppo": _CLIP,
    "adafocus_tsm_gaussian": _CLIP,
    "adafocus_v2": ("agents/centers.py", f"{_NETWORK}/centers.py"),
    "adafocus_v3": ("agents/cubes.py", f"{_NETWORK}/cubes.py"),
    "adafocus_v3_ppo": ("agents/cube_actor.py",),
    "adafuse": ("recognizer/encoders/masks.py",),
    "listentolook": ("agents/attention.py", _ATTENTION),
    "videoiq": ("recognizer/encoders/quantised.py",),
    "end_to_end": (
        f"{_NETWORK}/centers.py",
        "recognizer/stages/end_to_end.py",
        "runs/training/end_to_end_run.py",
    ),
    "cubes": (
        f"{_NETWORK}/cubes.py",
        "recognizer/pipeline/cubes.py",
        "recognizer/places/cubes.py",
        "recognizer/stages/cubes.py",
        "recognizer/stages/deep_features.py",
        "runs/training/cubes_run.py",
    ),
    "afnet": (
        "recognizer/afnet/*.py",
        "recognizer/pipeline/afnet*.py",
        "recognizer/stages/afnet.py",
        "runs/training/afnet_*.py",
    ),
}


def list_systems(config: SystemsConfig) -> dict[str, Any]:
    """Print a line for each system: its name, what it decides, and the publication.

    Of those that have a verb of their own there is also the command.

    Returns:
        By name what it ``decides``, its ``source``, the ``command`` that trains it and how many
        ``lines`` it needs, see `lines_of`; of those that ``focusgym train --system`` knows also
        what it trades accuracy for cost by (``knob``, empty if nothing), and at which ``settings``
        it is compared.
    """

    def others(of: dict[str, _Other]) -> dict[str, Any]:
        return {name: each._asdict() | {"lines": lines_of(name)} for name, each in of.items()}

    by_name = others(_BEFORE)
    for name, place in SYSTEMS.items():
        system = find_system(name)
        by_name[name] = {
            "decides": system.about,
            "source": system.source,
            "command": f"focusgym train OUT --preset {name}",
            "knob": system.knob if len(system.settings) > 1 else "",
            "settings": list(system.settings),
            "lines": lines_of(name, place),
        }
    by_name |= others(_BEHIND)
    if config.json:
        print_line(json.dumps(by_name))
    else:
        width = max(map(len, by_name))
        for name, of in by_name.items():
            command = "" if name in SYSTEMS else f": {of['command']}"
            print_line(f"{name:{width}}  {of['decides']} ({of['source']}){command}")
    return by_name


def lines_of(name: str, place: str | None = None) -> dict[str, int]:
    """Return how many lines of files a system has of its own, comments and blank ones too.

    Args:
        name: Of the system, and of its preset.
        place: Of its recipe, ``module:attribute``; None for what a verb of its own runs. Recipes of
            one paper share a module, which is counted for each of them.

    Returns:
        Of the ``recipe``, its module, and of its ``preset``, where there is a recipe; and of
        ``own``, environments, networks and trainings that are there for its paper, even where a
        later one uses a part of them. What several papers have in common is counted in none.
    """
    own = {file for pattern in OWN_FILES.get(name, ()) for file in _PACKAGE.glob(pattern)}
    if place is None:
        return {"own": sum(map(_length, own))}
    system = find_system(name)
    # A task's file is counted for the paper whose recipe names the task first.
    if isinstance(system, LearnedSystem) and _file(_first_in(system.task)) == _file(place):
        own.add(_file(config_class(system.task).task))
    preset = _PACKAGE / "runs" / "presets" / f"{name}.yaml"
    lines = {"recipe": _length(_file(place)), "preset": _length(preset)}
    return lines | {"own": sum(map(_length, own))}


def _first_in(task: str) -> str:
    """Return where the first recipe is that names a task."""
    return next(SYSTEMS[name] for name in SYSTEMS if getattr(find_system(name), "task", "") == task)


def _file(place: str) -> Path:
    """Return the file of a module, from ``module:attribute``."""
    file = import_module(place.partition(":")[0]).__file__
    assert file is not None
    return Path(file)


def _length(file: Path) -> int:
    return len(file.read_text(encoding="utf-8").splitlines())
