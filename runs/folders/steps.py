"""Steps of a run: each leaves a folder, and is done once while what it depends on is the same."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from rich.console import Console

from ... import __version__
from ...feature_cache import fingerprint
from ...recognizer import FocusgymError
from ...recognizer.files.whole import write_whole

_VERB = "quickstart"
ROOMS = ("recognizer", "feature_cache", "envs", "agents", "runs")


class OutputError(FocusgymError):
    """The output folder cannot be used; the message says why and what to do."""


def code_digest() -> str:
    """Return the SHA-256 of this package's source, so that results of older code are not reused."""
    digest = hashlib.sha256()
    for room in ROOMS:
        folder = Path(str(import_module(f"focusgym.{room}").__file__)).parent
        for path in sorted(folder.rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _is_record(path: Path) -> bool:
    try:
        return bool(json.loads(path.read_text())["verb"] == _VERB)
    except (OSError, ValueError, TypeError, KeyError):
        return False


class Steps:
    """The steps of one run, in order; every step depends on all before it.

    A step's folder appears when the step is complete, so a run that was interrupted goes on after
    its last complete step.

    Attributes:
        seconds: How long each step took when it was done, by name.
    """

    def __init__(self, out: Path, config: Mapping[str, Any], console: Console) -> None:
        """Begin or go on with the run in a folder.

        Args:
            out: The run's folder, made if needed.
            config: What the user asked for, kept in ``run.json``.
            console: Where progress is told.

        Raises:
            OutputError: If ``out`` is a file, or a folder with something else in it.
        """
        record = out / "run.json"
        if out.exists() and not out.is_dir():
            raise OutputError(f"{out} is a file: give another --out")
        if out.exists() and any(out.iterdir()) and not _is_record(record):
            raise OutputError(
                f"{out} holds files that are not of a quickstart (no run.json of one): nothing "
                "was touched; give a new or empty folder as --out"
            )
        out.mkdir(parents=True, exist_ok=True)
        content = {"focusgym": __version__, "verb": _VERB, **config}
        write_whole(record, json.dumps(content, indent=2, default=str))
        self._out = out
        self._console = console
        self._chain = code_digest()
        self.seconds: dict[str, float] = {}

    def run(self, name: str, depends_on: Mapping[str, Any], make: Callable[[Path], object]) -> Path:
        """Do a step, or find it done.

        Args:
            name: Of the step and of its folder.
            depends_on: What decides its result besides the steps before it; JSON-able.
            make: Writes the result into a folder that it creates.

        Returns:
            The step's folder.

        Raises:
            OutputError: If something else stands where the folder would.
        """
        self._chain = fingerprint({"before": self._chain, "step": name, "on": depends_on})
        folder = self._out / name
        marker = folder / "step.json"
        if folder.exists() and any(folder.iterdir()) and not marker.exists():
            raise OutputError(
                f"{folder} is in the way: it is not a complete step of a focusgym run; nothing was "
                "touched; give another --out, or move it"
            )
        done = json.loads(marker.read_text()) if marker.exists() else {}
        if done.get("fingerprint") == self._chain:
            self._console.print(f"[green]✓ {name}[/]: done before, reused")
        else:
            self._console.print(f"[bold]→ {name}[/]")
            partial = folder.with_name(f"{name}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            start = time.perf_counter()
            make(partial)
            done = {"fingerprint": self._chain, "seconds": time.perf_counter() - start}
            (partial / "step.json").write_text(json.dumps(done))
            # Renamed before it is deleted: what is half deleted is never taken for done.
            replaced = folder.with_name(f"{name}.replaced")
            shutil.rmtree(replaced, ignore_errors=True)
            if folder.exists():
                folder.rename(replaced)
            partial.rename(folder)
            shutil.rmtree(replaced, ignore_errors=True)
        self.seconds[name] = done["seconds"]
        return folder
