"""Printing for people: whatever names come from files, they are text and nothing else."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from ..recognizer import escaped


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
