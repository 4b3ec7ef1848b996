"""Steps inside the folder of a run: each leaves a folder that appears whole, and is done once.

It is done again when something that it depends on has changed. Whose folder it is, and that one
process at a time is in it, is the business of `run_folder`.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from rich.console import Console

from ...feature_cache import fingerprint
from ...recognizer import in_words
from ...recognizer.files.atomic import write_whole
from ...recognizer.files.documents import read_json
from ...recognizer.files.typed import typed
from .atomic import OutputError, output_folder

Calls = Callable[[Callable[..., None], Mapping[str, tuple[Any, ...]]], None]
ROOMS = ("recognizer", "feature_cache", "envs", "agents", "runs")


def code_digest() -> str:
    """Return the SHA-256 of this package's source, so that results of older code are not reused."""
    digest = hashlib.sha256()
    for room in ROOMS:
        folder = Path(str(import_module(f"focusgym.{room}").__file__)).parent
        for path in sorted(folder.rglob("*.py")):
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
        """Begin, or go on after the steps that are complete.

        Args:
            out: The run's folder, in which no other process is.
            console: Where progress is told.
        """
        self._out = out
        self._console = console
        self._chain = code_digest()
        self.seconds: dict[str, float] = {}

    def run(self, name: str, depends_on: Mapping[str, Any], make: Callable[[Path], object]) -> Path:
        """Do a step, or find it done.

        Args:
            name: The step's, and its folder's.
            depends_on: What decides its result besides the steps before it; JSON-able.
            make: Writes the result into a folder that it creates.

        Returns:
            The step's folder.

        Raises:
            OutputError: If something else stands where the folder would.
        """
        (folder,) = self.run_together({name: (depends_on, make)}, in_turn)
        return folder

    def run_together(
        self,
        steps: Mapping[str, tuple[Mapping[str, Any], Callable[[Path], object]]],
        do: Calls,
    ) -> list[Path]:
        """Do several steps that need nothing of one another, or find them done.

        Args:
            steps: By name, as of `run`.
            do: Makes calls of one function, such as in processes; what makes a step is among what
                the function is called with.

        Returns:
            The steps' folders.

        Raises:
            OutputError: If something else stands where a folder would.
        """
        folders, calls = [], {}
        for name, (depends_on, make) in steps.items():
            self._chain = fingerprint({"before": self._chain, "step": name, "on": depends_on})
            folder = self._out / name
            folders.append(folder)
            done = _record(folder)
            if done is not None and done.fingerprint == self._chain:
                self._console.print(f"[green]✓ {name}[/]: done before, reused")
            else:
                self._console.print(f"[bold]→ {name}[/]")
                for left in self._out.glob(f"{name}.partial-*"):  # by a process that was killed
                    shutil.rmtree(left, ignore_errors=True)
                calls[name] = folder, make, self._chain
        do(_make, calls)
        for folder in folders:
            done = _record(folder)
            assert done is not None
            self.seconds[folder.name] = done.seconds
        return folders


@dataclass(frozen=True)
class _Done:
    """What a complete step says of itself.

    Attributes:
        fingerprint: Of all that it depends on.
        seconds: How long it took.
    """

    fingerprint: str
    seconds: float


def _record(folder: Path) -> _Done | None:
    """Return what a complete step says of itself; None where there is none.

    Raises:
        OutputError: If something else stands there.
    """
    marker = folder / "step.json"
    if folder.exists() and any(folder.iterdir()) and not marker.exists():
        raise OutputError(
            f"{folder} is in the way: it is not a complete step of a focusgym run; nothing was "
            "touched; give another --out, or move it"
        )
    if not marker.exists():
        return None
    try:
        return typed(_Done, read_json(marker))
    except (OSError, ValueError) as error:
        raise OutputError(
            f"{marker} is damaged ({in_words(error)}): remove {folder}, and it is made again"
        ) from error


def in_turn(function: Callable[..., None], calls: Mapping[str, tuple[Any, ...]]) -> None:
    """Call a function several times, in this process; the calls have names."""
    for arguments in calls.values():
        function(*arguments)


def _make(folder: Path, make: Callable[[Path], object], chain: str) -> None:
    """Make a step, and write down what it is."""
    start = time.perf_counter()
    with output_folder(folder, replace=True) as partial:
        partial.rmdir()  # it is there for `make` to create
        make(partial)
        done = _Done(chain, time.perf_counter() - start)
        write_whole(partial / "step.json", json.dumps(asdict(done)))
