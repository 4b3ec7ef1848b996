"""The rules that belong to a config class, made for an engine and the prices of its cache."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ...recognizer import FrameCost
from ...recognizer.registry import import_named
from ..config import EnvConfig
from ..engine.engine import FocusEngine
from ..episodes.selection import allowed_options
from .prices import Prices
from .task import Task


def task_class(config: EnvConfig) -> type[Task[Any, Any]]:
    """Return the rules of a config: those that its class names.

    Raises:
        ValueError: If it names none.
    """
    named = type(config).task  # of the class, which no file says
    module, _, attribute = named.partition(":")
    problem = ""
    try:
        rules_class = getattr(import_named(module), attribute)
        if isinstance(rules_class, type) and issubclass(rules_class, Task):
            return rules_class
    except (ImportError, AttributeError) as error:
        problem = f" ({error})"
    raise ValueError(
        f"{type(config).__name__}.task must be 'module:attribute' of a class derived from "
        f"focusgym.envs.Task; got {named!r}{problem}"
    )


def make_task(
    config: EnvConfig, engine: FocusEngine, cost: FrameCost, n_envs: int, *, rewarded: bool = True
) -> Task[Any, Any]:
    """Return the rules of N episodes that an engine plays, with the prices of its cache.

    Args:
        config: Keywords.
        engine: The engine that plays the episodes.
        cost: GMACs of f_G, f_L and f_C on one segment.
        n_envs: N.
        rewarded: Whether rewards are computed. If not, no alternatives are tried and the rewards
            are meaningless; use this to play an agent without training it.

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
