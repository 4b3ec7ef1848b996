"""Processes that kill themselves at a moment that their own progress decides, never a clock."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import torch._dynamo  # noqa: F401 - what a first optimizer step imports, once for all children


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


def in_a_child(act: Callable[[], object]) -> int:
    """Run in a forked child; return its exit status, the negative of a signal that ended it.

    The caller must not have computed with torch before.
    """
    child = os.fork()
    if child == 0:
        try:
            act()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def report_of(script: Path, *arguments: object) -> Any:
    """Run a script that kills its children in a process of its own; return the JSON it prints."""
    tests = str(Path(__file__).parent)
    ran = subprocess.run(
        [sys.executable, str(script), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=600,
        env={
            **os.environ,
            "TQDM_DISABLE": "1",
            "PYTHONPATH": os.pathsep.join([tests, os.environ.get("PYTHONPATH", "")]),
        },
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)
