"""What may solve the thresholds of exits; imports nothing heavy."""

from __future__ import annotations

from typing import Literal, get_args

Solver = Literal["common", "msdnet", "accurate"]
SOLVERS: tuple[Solver, ...] = get_args(Solver)
