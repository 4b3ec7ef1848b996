"""Calls in processes of their own, several at a time: one that fails does not stop the others."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing import active_children, get_context, parent_process
from threading import Thread
from typing import Any

import torch
from tqdm import tqdm

from ...recognizer import FocusgymError, in_words
from ...recognizer.files.disks import FULL, disk_error, leave_to_main_thread

_SHOWN = 10  # failures in a message


class FailedError(FocusgymError):
    """Some of several calls failed; the message says which, why, and what to do."""


def in_processes(
    function: Callable[..., None],
    calls: Mapping[str, tuple[Any, ...]],
    jobs: int | None,
    title: str,
    done: int = 0,
) -> None:
    """Call a function in processes of one thread each, which end with this one.

    Args:
        function: Of a module.
        calls: Its arguments, by a name for messages.
        jobs: Calls at a time; None for one per core.
        title: Of the progress bar.
        done: Calls that need not be made, for the progress bar.

    Raises:
        FailedError: If a call failed, after all others were made.
        OSError: If a disk is full; those that had begun then ended too.
    """
    if not calls:
        return
    failures: dict[str, str] = {}
    full: OSError | None = None
    with _environment(TQDM_DISABLE="1", OMP_NUM_THREADS="1"):  # of the processes that are started
        pool = ProcessPoolExecutor(
            min(jobs or os.cpu_count() or 1, len(calls)), get_context("spawn"), _begin
        )
        bar = tqdm(total=done + len(calls), initial=done, desc=title, unit="training")
        try:
            names = {pool.submit(_call, function, *given): name for name, given in calls.items()}
            for future in as_completed(names):
                error = future.exception()
                if isinstance(error, OSError) and error.errno in FULL:
                    full = error
                    break  # those that run end like it, or well; no others begin
                if error is not None:
                    failures[names[future]] = _told(error)
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
    if failures:
        shown = [f"  {name}: {why}" for name, why in failures.items()][:_SHOWN]
        more = f"\n  and {len(failures) - _SHOWN} more" if len(failures) > _SHOWN else ""
        raise FailedError(
            f"{title}: {len(failures)} of {len(calls)} failed, the others are kept:\n"
            + "\n".join(shown)
            + f"{more}\nmend what they say and run the same command, which does only those"
        )


def _call(function: Callable[..., None], *given: Any) -> None:
    """Call, and let a full disk be told as such: on the way from a process causes are lost."""
    try:
        function(*given)
    except Exception as error:
        refused = disk_error(error)
        if refused is not None and refused.errno in FULL:
            raise refused from None
        raise


def _begin() -> None:
    """Prepare a process: one thread, silent, not interrupted by itself, no life without parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent gets it too, and ends this process
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is printed is the parent's alone
    torch.set_num_threads(1)
    leave_to_main_thread()
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _told(error: BaseException) -> str:
    if isinstance(error, FocusgymError):
        return str(error)
    if isinstance(error, OSError):
        return f"{error.filename}: {in_words(error)}" if error.filename else in_words(error)
    return f"{type(error).__name__}: {error}"


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
