"""Units of work: each has a name, can be done anywhere and again, and gives the same wherever."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ...recognizer import FocusgymError, in_words
from ...recognizer.files.disks import FULL, disk_error

_SHOWN = 10  # failures in a message


class FailedError(FocusgymError):
    """Some of several units failed; the message says which, why, and what to do."""


class ExecutorError(FocusgymError):
    """There is nothing that could do the units; the message says why and what to do."""


class LostError(ExecutorError):
    """What a unit needed of other nodes was lost with them: begun again, it may find it."""


@dataclass(frozen=True)
class Unit:
    """A piece of work, as a call of a function that all units of a kind share.

    Done twice, or begun twice, it leaves what it leaves when it is done once. Paths in the
    arguments are `Path`, so that an executor can put the unit's files elsewhere.

    Attributes:
        arguments: Arguments of the function.
        out: The folder that it leaves, which holds all that it writes; None if it writes nothing.
        reads: Folders beside ``out``, made by earlier units, that it needs.
    """

    arguments: tuple[Any, ...]
    out: Path | None = None
    reads: tuple[Path, ...] = ()


class Executor(Protocol):
    """What does units, several at a time; one that fails does not stop the others."""

    def __call__(
        self,
        function: Callable[..., Any],
        units: Mapping[str, Unit],
        title: str,
        done: int = 0,
        kind: str = "training",
    ) -> dict[str, Any]:
        """Do all units.

        Args:
            function: What a unit is a call of.
            units: By a name for messages.
            title: Of the progress bar.
            done: Units that need not be done, for the progress bar.
            kind: What a unit is, for the progress bar.

        Returns:
            What the function returned, by the unit's name, in the order of ``units``.

        Raises:
            FailedError: If a unit failed, after all others were done.
            ExecutorError: If there is nothing to do them on.
            OSError: If a disk is full; no others are begun then.
        """


def call(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call, and let a full disk be told as such: on the way from a process causes are lost."""
    try:
        return function(*arguments)
    except Exception as error:
        refused = disk_error(error)
        if refused is not None and refused.errno in FULL:
            raise refused from None
        raise


def error_text(error: BaseException) -> str:
    """Return an error in words."""
    if isinstance(error, FocusgymError):
        return str(error)
    if isinstance(error, OSError):
        return f"{error.filename}: {in_words(error)}" if error.filename else in_words(error)
    if isinstance(error, SystemExit):
        is_message = isinstance(error.code, str)
        return f"ended with status {f'1: {error.code}' if is_message else error.code or 0}"
    return f"{type(error).__name__}: {error}"


def check_failures(failures: Mapping[str, str], n_units: int, title: str) -> None:
    """Tell of all units that failed, if any did.

    Args:
        failures: Why, by the unit's name.
        n_units: How many there were.
        title: What the units were, in words.

    Raises:
        FailedError: If one failed.
    """
    if not failures:
        return
    shown = [f"  {name}: {why}" for name, why in failures.items()][:_SHOWN]
    more = f"\n  and {len(failures) - _SHOWN} more" if len(failures) > _SHOWN else ""
    raise FailedError(
        f"{title}: {len(failures)} of {n_units} failed, the others are kept:\n"
        + "\n".join(shown)
        + f"{more}\nmend what they say and run the same command, which does only those"
    )
