"""Names of classes and runs that are formulas, markup or commands for a terminal elsewhere."""

from __future__ import annotations

import io

import pytest
from matplotlib.figure import Figure
from rich.table import Table

from focusgym.runs.options.console import PlainConsole, plainly

NAMES = (r"cost $\frac$", "[/x]", "[red]", ":smile:", "a\x1b[2Jb", "50 $ and 60 $")


def test_a_dollar_sign_begins_no_formula() -> None:
    def draw() -> Figure:
        figure = Figure(figsize=(2, 2))
        axes = figure.subplots()
        axes.set_ylabel(NAMES[0])
        axes.text(0, 0, NAMES[0])
        return figure

    with pytest.raises(ValueError, match="Expected"):
        draw().savefig(io.BytesIO())
    plainly(draw)().savefig(io.BytesIO())


def test_names_are_printed_as_they_are() -> None:
    console = PlainConsole(file=io.StringIO(), width=20)
    table = Table()
    table.add_column("name", no_wrap=True)
    for name in NAMES:
        table.add_row(name)
    console.print_whole(table)
    console.print(NAMES[1], NAMES[4])
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "\x1b" not in shown
    for name in NAMES:
        assert name.replace("\x1b", r"\x1b") in shown
    assert shown.splitlines()[-1] == r"[/x] a\x1b[2Jb"
