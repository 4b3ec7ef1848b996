"""Runs that were moved together with what they were made from. Imports nothing heavy."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...recognizer.files.documents import read_json

FOLDER = "folder"  # of a run, in its run.json: where it was when its settings were written
_PATHS = (
    "cache",
    "classifier",
    "runs",
    "end-to-end",
)  # settings of runs that say where something else is


def with_moved_paths(run: Path, record: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a run with paths to where things are now.

    What lay somewhere from the run's folder when the settings were written, and is there today too,
    has moved with it; everything else is where it was.

    Args:
        run: The folder of the run.
        record: Name of the file in it that says where the run was.
        settings: What it was made with, by option.
    """
    try:
        before = read_json(run / record)[FOLDER]
    except (OSError, ValueError, TypeError, KeyError):  # no run, or one of an earlier version
        return dict(settings)
    if not isinstance(before, str):
        return dict(settings)

    def now(path: Any) -> Any:
        if isinstance(path, list):
            return [now(each) for each in path]
        if not isinstance(path, str) or not os.path.isabs(path):
            return path
        try:
            beside = os.path.normpath(run.resolve() / os.path.relpath(path, before))
        except (ValueError, TypeError):  # on another drive; no path
            return path
        return beside if os.path.exists(beside) else path

    return {name: now(value) if name in _PATHS else value for name, value in settings.items()}
