"""A unit on a node of a cluster: what is done there. Imports no Ray."""

from __future__ import annotations

import os
import pickle
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ... import __version__
from ...recognizer import FocusgymError
from ...recognizer.files.disks import FULL
from ..options.own import import_own
from .transfer import Archive, BelowUnpickler, Carrier
from .units import ExecutorError, LostError, call, error_text

_LINES = 20  # of a unit's log that are told when it fails


@dataclass(frozen=True)
class Head:
    """The machine that gives out units.

    Attributes:
        folder: In which its command was typed.
        version: Version of focusgym on the machine of the head.
        cpus: That it has a unit given, which has as many threads.
        trust: Modules that a unit imports first.
    """

    folder: str
    version: str = __version__
    cpus: int = 1
    trust: tuple[str, ...] = ()

    def join(self) -> None:
        """Make this process like the head's.

        Raises:
            ExecutorError: If the node has another focusgym.
            OptionError: If it lacks a module.
        """
        if self.version != __version__:
            raise ExecutorError(
                f"the node has focusgym {__version__}, the head {self.version}: install the same"
            )
        with suppress(OSError):  # a node that shares no files has no such folder
            os.chdir(self.folder)
        if "" not in sys.path:  # a reward design of the user's own is found there
            sys.path.append("")
        torch.set_num_threads(self.cpus)
        import_own(self.trust)


@dataclass(frozen=True)
class Carried:
    """Files of a unit whose node does not share the head's file system.

    Attributes:
        by: The carrier that packs and unpacks them.
        out: The folder that the unit leaves, from the root of all units' files.
        reads: The folders that it needs, from there.
    """

    by: Carrier
    out: str | None
    reads: tuple[str, ...]


@dataclass(frozen=True)
class Done:
    """What became of a unit.

    Attributes:
        result: What the function returned.
        archive: Of the folder that it left, where files are carried.
        failure: Why it failed; empty if it did not.
        is_lost: Whether it failed for what ended on other nodes, and may be begun again.
        full: The number and the file of an error that says that a disk is full.
    """

    result: Any = None
    archive: Archive | None = None
    failure: str = ""
    is_lost: bool = False
    full: tuple[int, str | None] | None = None


def work(
    head: Head, function: bytes, pickled_arguments: bytes, carried: Carried | None, *reads: Archive
) -> Done:
    """Do a unit, and tell what became of it: no error is raised, for it might not travel.

    Args:
        head: Who gave it out.
        function: Pickled.
        pickled_arguments: Arguments of the function, pickled.
        carried: Its files, where they are carried.
        reads: The archives of ``carried.reads``, which Ray has fetched.
    """
    with tempfile.TemporaryDirectory(prefix="focusgym-") as scratch, _log() as log:
        try:
            head.join()
            root = Path(scratch)
            if carried is not None:
                for place, archive in zip(carried.reads, reads, strict=True):
                    carried.by.unpack(archive, root / place)
            arguments = BelowUnpickler(pickled_arguments, root).load()
            result = call(pickle.loads(function), *arguments)
            if carried is None or carried.out is None:
                return Done(result)
            return Done(result, carried.by.pack(root / carried.out))
        except (Exception, SystemExit) as error:  # Ray would take the latter for a lost process
            if isinstance(error, OSError) and error.errno in FULL:
                return Done(full=(error.errno, error.filename))
            if not isinstance(error, FocusgymError):
                traceback.print_exc(limit=-3)
            why = f"{error_text(error)} (on {os.uname().nodename}){_end_of(log)}"
            return Done(failure=why, is_lost=isinstance(error, LostError))


@contextmanager
def _log() -> Iterator[Path]:
    """Send what this process prints, its libraries included, into a file inside the block."""
    with tempfile.NamedTemporaryFile(prefix="focusgym-", suffix=".log") as file:
        before = [os.dup(1), os.dup(2)]
        try:
            for number in (1, 2):
                os.dup2(file.fileno(), number)
            yield Path(file.name)
        finally:
            _flush()
            for number, old in enumerate(before, 1):
                os.dup2(old, number)
                os.close(old)


def _end_of(log: Path) -> str:
    _flush()
    lines = log.read_text(errors="replace").splitlines()[-_LINES:]
    return "".join(f"\n    | {line}" for line in lines)


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
