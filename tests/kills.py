"""Forked processes, some of which kill themselves when they have come far enough, by no clock."""

from __future__ import annotations

import io
import json
import os
import runpy
import signal
import socket
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from threading import RLock
from types import ModuleType
from typing import Any, NamedTuple, NoReturn

import torch._dynamo  # what a first optimizer step imports, once for all children
from tqdm import tqdm

MOST_S = 3600  # that a child may take, whatever becomes of it


def kill_now() -> NoReturn:
    """End this process as `kill -9` does: nothing is cleaned up."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("a killed process goes on")


def kill_at_checkpoint(module: ModuleType, n: int, *, half_written: bool) -> None:
    """Let this process die at the n-th checkpoint that it writes from now on, the first is 1.

    Args:
        module: Where the training looks for ``write_checkpoint``.
        n: Which checkpoint.
        half_written: In the midst of its write; else as soon as it is written.
    """
    real, real_open, written = module.write_checkpoint, Path.open, []

    def write(*args: Any) -> None:
        written.append(None)
        if len(written) == n and half_written:
            Path.open = opened  # type: ignore[assignment]
        real(*args)
        if len(written) == n:
            kill_now()

    class Half(io.FileIO):
        def write(self, data: bytes) -> int:  # type: ignore[override]
            super().write(data[: len(data) // 2])
            kill_now()

    def opened(self: Path, *args: Any, **options: Any) -> Any:
        return Half(self, "w") if self.name.endswith(".partial") else real_open(self, *args)

    module.write_checkpoint = write  # type: ignore[attr-defined]


class Ended(NamedTuple):
    """What became of children: their exit statuses, and what all of them said."""

    codes: list[int]
    out: str
    err: str


def begin(act: Callable[[], object], printed: Path | None = None) -> int:
    """Begin to run in a forked child, which has one thread; return its number.

    Args:
        act: What the child does; a `SystemExit` gives its exit status.
        printed: Files of this name that end in .out and .err get what it prints, if given.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        signal.alarm(MOST_S)
        torch.set_num_threads(1)  # a pool of threads is not forked
        tqdm.set_lock(RLock())  # tqdm's is shared: another child may be killed while it holds it
        if printed:
            for number, (stream, end) in enumerate((("stdout", "out"), ("stderr", "err")), 1):
                file = printed.with_suffix(f".{end}").open("a")
                os.dup2(file.fileno(), number)
                setattr(sys, stream, file)
        act()
        status = 0
    except SystemExit as end_of_it:
        status = int(end_of_it.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def ends_of(children: Iterable[int]) -> list[int]:
    """Wait for children; return their exit statuses, negative for a signal that ended them."""
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def in_a_child(act: Callable[[], object]) -> int:
    """Run in a forked child; return its exit status, the negative of a signal that ended it."""
    return ends_of([begin(act)])[0]


def in_children(*acts: Callable[[], object]) -> Ended:
    """Run each in a forked child, all at the same time."""
    with tempfile.TemporaryDirectory() as folder:
        printed = Path(folder) / "printed"
        codes = ends_of([begin(act, printed) for act in acts])
        return Ended(codes, *(printed.with_suffix(end).read_text() for end in (".out", ".err")))


def in_two_processes(act: Callable[[], object]) -> Ended:
    """Run in two forked children as torchrun does, which itself would say much more."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        store = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}

    def of_rank(rank: int) -> None:
        os.environ.update(store, WORLD_SIZE="2", RANK=str(rank), LOCAL_RANK=str(rank))
        act()

    return in_children(lambda: of_rank(0), lambda: of_rank(1))


def report_of(script: Path, *arguments: object) -> Any:
    """Run a script that kills its children in a forked child; return the JSON that it prints."""

    def act() -> None:
        sys.argv = [str(script), *map(str, arguments)]
        sys.path.insert(0, str(script.parent))
        runpy.run_path(str(script), run_name="__main__")

    ended = in_children(act)
    assert ended.codes == [0], ended.err
    return json.loads(ended.out)
