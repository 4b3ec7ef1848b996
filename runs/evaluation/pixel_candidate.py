"""Runs that were trained from pixels, all networks together, as candidates of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..configs.evaluate import EvaluateConfig
from ..options.devices import device_of
from .candidate import Candidate, Label, Labels, exits_of, names_of, refuse
from .exits import SOLVED_ON, check_exits
from .opened_runs import find_pixel_run, is_pixel_run
from .outcome import Outcome
from .pixel_runs import PixelRun


@dataclass(frozen=True)
class PixelCandidate(Candidate):
    """A run that is played on the video files.

    Attributes:
        run: The run, opened.
    """

    path: Path
    label: Label
    run: PixelRun

    @classmethod
    def serves(cls, path: Path) -> bool:
        """Say whether all networks of a run were trained together."""
        return is_pixel_run(path)

    @classmethod
    def open(
        cls, paths: Sequence[Path], config: EvaluateConfig, labels: Labels | None
    ) -> list[PixelCandidate]:
        """Open runs; see `Candidate`."""
        options = {
            "--keep-ratio": config.keep_ratio,
            "--cache": config.cache,
            "--classifier": config.classifier,
            "--oracle": config.oracle,
        }
        refuse(options, paths, "was trained end to end, and is played on the video files")
        device = device_of(config.device)
        runs = [find_pixel_run(path, config.videos_root, device) for path in paths]
        for run in runs:
            for split in (config.split, *([SOLVED_ON] if config.exit_at else [])):
                run.check(split)
        names = names_of(paths, [run.name for run in runs], labels)
        runs = [replace(run, name=name) for run, name in zip(runs, names, strict=True)]
        return [cls(path, Label(run.name), run) for path, run in zip(paths, runs, strict=True)]

    def solving(self, config: EvaluateConfig) -> list[Outcome]:
        """Refuse too small a share; the videos are read with those that are reported."""
        if config.exit_at:
            how = (config.exit_at, config.exit_after, self.run.gmacs, self.run.glances)
            check_exits(self.run.name, *how)
        return []

    def rows(self, config: EvaluateConfig, solving: Sequence[Outcome]) -> list[dict[str, Any]]:
        """Return the run's row, those of its exits, and those of other places in its networks."""
        run = self.run
        kinds = run.beside if config.fixed else ()
        outcome, *others = run.play(config.split, (None, *kinds), config.seed)
        rows = [outcome.row(run.name)]
        if config.exit_at:
            (on_solved,) = run.play(SOLVED_ON, seed=config.seed)
            rows += exits_of(run.name, on_solved, outcome, config)
        pairs = zip(kinds, others, strict=True)
        return rows + [each.row(f"{kind}, as {run.name}") for kind, each in pairs]
