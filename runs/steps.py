"""Steps of a run: each leaves a folder, and is not done again while what it depends on is the same."""

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

from ..feature_cache import fingerprint

ROOMS = ("recognizer", "feature_cache", "envs", "agents", "runs")


def code_digest() -> str:
    """Return the SHA-256 of this package's source, so that results of older code are not reused."""
    digest = hashlib.sha256()
    for room in ROOMS:
        folder = Path(str(import_module(f"focusgym.{room}").__file__)).parent
        for path in sorted(folder.glob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


class Steps:
    """The steps of one run, in order; every step depends on all before it.

    A step's folder appears when the step is complete, so a run that was interrupted goes on after
    its last complete step.

    Attributes:
        seconds: How long each step took when it was done, by name.
    """

    def __init__(self, out: Path, console: Console) -> None:
        """Run in the folder ``out``, which is made if needed."""
        self._out = out
        self._console = console
        self._chain = code_digest()
        self.seconds: dict[str, float] = {}
        out.mkdir(parents=True, exist_ok=True)

    def run(self, name: str, depends_on: Mapping[str, Any], make: Callable[[Path], object]) -> Path:
        """Do a step, or find it done.

        Args:
            name: Of the step and of its folder.
            depends_on: What decides its result besides the steps before it; JSON-able.
            make: Writes the result into a folder that it creates.

        Returns:
            The step's folder.
        """
        self._chain = fingerprint({"before": self._chain, "step": name, "on": depends_on})
        folder = self._out / name
        marker = folder / "step.json"
        done = json.loads(marker.read_text()) if marker.exists() else {}
        if done.get("fingerprint") == self._chain:
            self._console.print(f"[green]✓[/] {name}: found in {folder}")
        else:
            self._console.print(f"[bold]→ {name}[/]")
            partial = folder.with_name(f"{name}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            start = time.perf_counter()
            make(partial)
            done = {"fingerprint": self._chain, "seconds": time.perf_counter() - start}
            (partial / "step.json").write_text(json.dumps(done))
            shutil.rmtree(folder, ignore_errors=True)
            partial.rename(folder)
        self.seconds[name] = done["seconds"]
        return folder
