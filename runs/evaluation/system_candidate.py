"""Runs of systems as candidates of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..configs.evaluate import EvaluateConfig
from ..options.devices import device_of
from .candidate import Candidate, Label, Labels, exits_of, names_of, refuse, solving_on, videos_of
from .outcome import Outcome
from .system_runs import SystemRun, find_system_run, is_system_run


@dataclass(frozen=True)
class SystemCandidate(Candidate):
    """A run of ``focusgym train --system``, played on its cache.

    Attributes:
        run: The run, opened.
    """

    path: Path
    label: Label
    run: SystemRun

    @classmethod
    def serves(cls, path: Path) -> bool:
        """Say whether a folder is a run of a system."""
        return is_system_run(path)

    @classmethod
    def open(
        cls, paths: Sequence[Path], config: EvaluateConfig, labels: Labels | None
    ) -> list[SystemCandidate]:
        """Open runs; see `Candidate`."""
        options = {
            "--keep-ratio": config.keep_ratio,
            "--cache": config.cache,
            "--classifier": config.classifier,
        }
        refuse(options, paths, "is a run of a system, which has what it was trained with")
        device = device_of(config.device)
        runs = [find_system_run(path, config.videos_root, device) for path in paths]
        names = names_of(paths, [run.name for run in runs], labels)
        return [
            # A copy would read what the system has learned again.
            cls(path, Label(name), run if run.name == name else replace(run, name=name))
            for path, name, run in zip(paths, names, runs, strict=True)
        ]

    def solving(self, config: EvaluateConfig) -> list[Outcome]:
        """Return what comes of the videos that exits are solved on; see `Candidate`."""
        if not config.exit_at:
            return []
        return [solving_on(self.run.name, self.run.source.cache, self.run.outcome, config)]

    def rows(self, config: EvaluateConfig, solving: Sequence[Outcome]) -> list[dict[str, Any]]:
        """Return the run's row on the cache, those on the video files, and those of its exits."""
        videos = videos_of(self.run.source.cache, config)
        rows = self.run.rows(config.split, pixels=config.pixels)
        if config.exit_at:
            rows += exits_of(self.run.name, solving[0], self.run.outcome(videos), config)
        return rows
