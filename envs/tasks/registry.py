"""The environment ids: which keywords and which rules each of them has."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ..config import EnvConfig
from .task import Task

# By name: where the keywords and the rules are, in this room. A new one is a file and a line.
TASKS: dict[str, tuple[str, str]] = {
    "AdaFocus": ("config:EnvConfig", "tasks.adafocus:AdaFocusTask"),
    "AdaFocusPlus": ("config:PlusConfig", "tasks.adafocus:AdaFocusTask"),
    "Exit": ("tasks.exits:ExitConfig", "tasks.exits:ExitTask"),
    "Resolution": ("tasks.resolutions:ResolutionConfig", "tasks.resolutions:ResolutionTask"),
    "Jump": ("tasks.jump:JumpConfig", "tasks.jump:JumpTask"),
    "Subset": ("tasks.subset:SubsetConfig", "tasks.subset:SubsetTask"),
}


def env_id(name: str) -> str:
    """Return the id of a task's environments, such as ``focusgym/AdaFocus-v0``."""
    return f"focusgym/{name}-v0"


def config_class(name: str) -> type[EnvConfig]:
    """Return the class of a task's keywords.

    Raises:
        ValueError: If there is no such task.
    """
    if name not in TASKS:
        raise ValueError(f"task must be one of {', '.join(TASKS)}; got {name!r}")
    found: type[EnvConfig] = _find(TASKS[name][0])
    return found


def task_class(config: EnvConfig) -> type[Task[Any, Any]]:
    """Return the rules that belong to keywords."""
    for keywords, task in TASKS.values():
        if type(config) is _find(keywords):
            found: type[Task[Any, Any]] = _find(task)
            return found
    raise ValueError(f"no task has keywords of type {type(config).__name__}")


def _find(place: str) -> Any:
    module, name = place.split(":")
    return getattr(import_module(f"..{module}", __package__), name)
