"""What the verb ``tune`` takes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from .executor import ExecutorConfig
from .own import OwnConfig


@dataclass(frozen=True)
class TuneConfig(OwnConfig):
    """Search for the options of a verb that are best on the split val, with Optuna.

    Attributes:
        out: Folder of the search. Called again it goes on; with more --trials it tries more.
        space: YAML file with the section of one verb, such as a preset has. What is searched for
            has a range in place of a value, such as {low: 1.0e-4, high: 1.0e-2, log: true}, or
            choices, {choose: [64, 128]}. preset: NAME takes the other options from a preset.
        trials: How many combinations are tried. The first ten are random.
        jobs: Trials at a time; if not given one per core, or one on a GPU of this machine. Those
            that run together do not know of each other.
        seed: Seed of what is tried; trainings have the seed that the space says.
        where: Where the trials are run.
        json: Print the content of results.json instead of a table.
    """

    out: Positional[Path]
    space: Annotated[Positional[Path], arg(metavar="SPACE.yaml")]
    trials: int = 20
    jobs: int | None = None
    seed: int = 0
    where: ExecutorConfig = field(default_factory=ExecutorConfig)
    json: bool = False
