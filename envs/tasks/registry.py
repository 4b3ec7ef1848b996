"""The environment ids: which keywords and which rules each of them has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np

from ...recognizer import FrameCost
from ..config import EnvConfig, make_config
from ..engine.engine import FocusEngine
from ..episodes.selection import allowed_options
from .prices import Prices
from .task import Task

# By name: where the keywords and the rules are, in this room. A new one is a file and a line.
TASKS: dict[str, tuple[str, str]] = {
    "AdaFocus": ("config:EnvConfig", "tasks.adafocus:AdaFocusTask"),
    "AdaFocusPlus": ("config:PlusConfig", "tasks.adafocus:AdaFocusTask"),
    "Boxes": ("tasks.boxes:BoxesConfig", "tasks.boxes:BoxesTask"),
    "Clip": ("tasks.clip:ClipConfig", "tasks.clip:ClipTask"),
    "Exit": ("tasks.exits:ExitConfig", "tasks.exits:ExitTask"),
    "Resolution": ("tasks.resolutions:ResolutionConfig", "tasks.resolutions:ResolutionTask"),
    "Cubes": ("tasks.cubes:CubesConfig", "tasks.cubes:CubesTask"),
    "Jump": ("tasks.jump:JumpConfig", "tasks.jump:JumpTask"),
    "Subset": ("tasks.subset:SubsetConfig", "tasks.subset:SubsetTask"),
    "Glimpses": ("tasks.glimpses:GlimpsesConfig", "tasks.glimpses:GlimpsesTask"),
    "Pointers": ("tasks.pointers:PointersConfig", "tasks.pointers:PointersTask"),
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
    keywords_class: type[EnvConfig] = _find(TASKS[name][0])
    return keywords_class


def config_of(id_: str, keywords: Mapping[str, Any]) -> EnvConfig:
    """Return the keywords of an environment, checked.

    Args:
        id_: Such as ``focusgym/Exit-v0``.
        keywords: As for ``gymnasium.make``.

    Raises:
        ValueError: If the id is unknown, or a value is not among those that are allowed.
        TypeError: If a keyword is unknown, or ``cache`` or ``classifier`` is missing.
    """
    names = {env_id(name): name for name in TASKS}
    name = names.get(id_.removeprefix("focusgym.envs:"))
    if name is None:
        raise ValueError(f"env_id must be one of {', '.join(names)}; got {id_!r}")
    return make_config(config_class(name), keywords)


def task_class(config: EnvConfig) -> type[Task[Any, Any]]:
    """Return the rules that belong to keywords."""
    for keywords, task in TASKS.values():
        if type(config) is _find(keywords):
            rules_class: type[Task[Any, Any]] = _find(task)
            return rules_class
    raise ValueError(f"no task has keywords of type {type(config).__name__}")


def make_task(
    config: EnvConfig, engine: FocusEngine, cost: FrameCost, n_envs: int, *, rewarded: bool = True
) -> Task[Any, Any]:
    """Return the rules of N episodes that an engine plays, with the prices of its cache.

    Args:
        config: Keywords.
        engine: Plays.
        cost: GMACs of f_G, f_L and f_C on one segment.
        n_envs: N.
        rewarded: Whether the rewards are asked for. If not, nothing is tried for them, and they
            mean nothing: so it is where an agent is used and not trained.

    Raises:
        ValueError: If the keywords do not fit the cache.
    """
    if not rewarded:
        config = replace(config, reward="confidence", labels="first")  # which compares with nothing
    cache = engine.cache
    allowed = allowed_options(config.options_allowed, cache.n_options)
    places = [each.group.places for each in cache.opened]
    sides_px = np.repeat([each.side_px for each in places], [each.n_options for each in places])
    prices = Prices.of(config, cost, cache.option_gmacs, cache.steps, sides_px)
    task = task_class(config)(config, engine, prices, allowed, n_envs)
    task.rewarded = rewarded
    return task


def _find(place: str) -> Any:
    module, name = place.split(":")
    return getattr(import_module(f"..{module}", __package__), name)
