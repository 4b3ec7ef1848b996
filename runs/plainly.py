"""Figures in which names from files are text: a dollar sign begins no formula."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from matplotlib import rc_context

P = ParamSpec("P")
R = TypeVar("R")


def plainly(draw: Callable[P, R]) -> Callable[P, R]:
    """Let a function that draws take every text as it is."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> R:
        with rc_context({"text.parse_math": False, "text.usetex": False}):
            return draw(*args, **kwargs)

    return drawn
