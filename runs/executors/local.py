"""Units on this machine: in this process in turn, or in several processes at a time."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import active_children, get_context, parent_process
from threading import Thread
from typing import Any

import torch
from tqdm import tqdm

from ...recognizer.files.disks import FULL, leave_to_main_thread
from ..options.own import import_own
from .units import Unit, call, check_failures, error_text

_RAN = (
    "ran when a process was killed, as is done where memory is short, and was ended with it: do "
    "fewer at a time, or free some memory"
)
_NOT_BEGUN = "was not begun, for a process was killed"
_begun: Any = None  # in a process that does units: what the others see of what was begun


def jobs_here(device: str) -> int:
    """Return how many units are done at a time where nobody says.

    Args:
        device: Where a unit computes. On a GPU it is one unit, for all would be on the same GPU.
    """
    return (os.cpu_count() or 1) if device == "cpu" else 1


def in_turn(
    function: Callable[..., Any],
    units: Mapping[str, Unit],
    title: str,
    done: int = 0,
    kind: str = "training",
) -> dict[str, Any]:
    """Do all units in this process, without a bar; an error ends it. See `Executor`."""
    return {name: function(*unit.arguments) for name, unit in units.items()}


@dataclass(frozen=True)
class LocalExecutor:
    """Does units in processes of one thread each, which end with this one; see `Executor`.

    Attributes:
        jobs: Units at a time; None for one per core.
        trust: Modules that the processes import first.
    """

    jobs: int | None = None
    trust: tuple[str, ...] = ()

    def __call__(
        self,
        function: Callable[..., Any],
        units: Mapping[str, Unit],
        title: str,
        done: int = 0,
        kind: str = "training",
    ) -> dict[str, Any]:
        """Do all units."""
        if not units:
            return {}
        results: dict[str, Any] = {}
        failures: dict[str, str] = {}
        lost: list[str] = []  # done by no process, for one was killed
        full: OSError | None = None
        context = get_context("spawn")
        begun = context.RawArray("b", len(units))  # of each unit, whether it was
        with _environment(TQDM_DISABLE="1", OMP_NUM_THREADS="1"):  # of the processes it starts
            at_once = min(self.jobs or os.cpu_count() or 1, len(units))
            pool = ProcessPoolExecutor(at_once, context, _begin, (begun, self.trust))
            bar = tqdm(total=done + len(units), initial=done, desc=title, unit=kind)
            try:
                names: dict[Future[Any], str] = {}
                for i, (name, unit) in enumerate(units.items()):
                    try:
                        names[pool.submit(_call, i, function, *unit.arguments)] = name
                    except BrokenProcessPool:  # so soon: no process takes this one any more
                        lost.append(name)
                        bar.update()
                for future in as_completed(names):
                    error = future.exception()
                    if isinstance(error, OSError) and error.errno in FULL:
                        full = error
                        break  # those that run end like it, or well; no others begin
                    if isinstance(error, BrokenProcessPool):
                        lost.append(names[future])
                    elif error is not None:
                        failures[names[future]] = error_text(error)
                    else:
                        results[names[future]] = future.result()
                    bar.update()
            except BaseException:  # an interruption does not wait for trainings that take hours
                for process in active_children():
                    process.terminate()
                raise
            finally:
                bar.close()
                pool.shutdown(cancel_futures=True)
        if full is not None:
            raise full
        was_begun = dict(zip(units, begun, strict=True))
        for name in sorted(lost, key=lambda name: not was_begun[name]):  # those that ran come first
            failures[name] = _RAN if was_begun[name] else _NOT_BEGUN
        check_failures(failures, len(units), title)
        return {name: results[name] for name in units}


def _begin(begun: Any, trust: tuple[str, ...]) -> None:
    """Prepare a process: one thread, silent, not interrupted by itself, no life without parent."""
    global _begun
    _begun = begun
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent gets it too, and ends this process
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is printed is the parent's alone
    torch.set_num_threads(1)
    leave_to_main_thread()
    import_own(trust)
    Thread(target=_end_with_parent, daemon=True).start()


def _call(i: int, function: Callable[..., Any], *arguments: Any) -> Any:
    """Note that a unit was begun, and do it."""
    _begun[i] = 1
    return call(function, *arguments)


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    """Set environment variables inside the block."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
