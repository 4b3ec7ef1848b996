"""Printing and drawing for people: names from files are text and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from ...recognizer import escaped

P = ParamSpec("P")
R = TypeVar("R")


class PlainConsole(Console):
    """A console that prints texts as they are, but for control characters, which it escapes.

    Square brackets are no markup, and colons name no pictures: names of classes may hold them.
    """

    def __init__(self, **options: Any) -> None:
        """Take the options of rich's console."""
        super().__init__(markup=False, highlight=False, emoji=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Return a text as rich prints it."""
        return super().render_str(escaped(text), **options)

    def print_whole(self, table: Table) -> None:
        """Print a table; digits are never cut off: where the console is narrow, lines are longer.

        The console is as wide from then on.
        """
        unbounded = PlainConsole(width=1000)
        needed = Measurement.get(unbounded, unbounded.options, table).maximum
        self.width = max(self.width, needed)
        self.print(table)


def plainly(draw: Callable[P, R]) -> Callable[P, R]:
    """Let a function that draws figures take texts as they are: a dollar sign begins no formula."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> R:
        from matplotlib import rc_context

        with rc_context({"text.parse_math": False, "text.usetex": False}):
            return draw(*args, **kwargs)

    return drawn
