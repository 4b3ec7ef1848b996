"""Calls in processes: what fails is told and the others are made; nothing outlives its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from multiprocessing import active_children
from pathlib import Path
from threading import Timer
from typing import Any

import pytest

from focusgym.runs.processes import FailedError, in_processes

SLEEP_S = 600  # longer than a test may take


def test_all_calls_are_made(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """One that fails does not stop the others, and is named with its reason."""
    calls = {
        "first": (f"open({str(tmp_path / 'a')!r}, 'w')",),
        "bad": ("1 / 0",),
        "raises": ("from focusgym.recognizer import FocusgymError as E; raise E('what to do')",),
        "last": (
            f"open({str(tmp_path / 'b')!r}, 'w').write(str((__import__('torch').get_num_threads(), "
            "__import__('os').environ['TQDM_DISABLE'])))",
        ),
        "loud": ("print('said') or __import__('os').system('echo told')",),
    }
    with pytest.raises(FailedError) as caught:
        in_processes(exec, calls, 2, "stage X", done=3)
    head, *why, end = str(caught.value).splitlines()
    assert head == "stage X: 2 of 5 failed, the others are kept:"
    assert sorted(why) == ["  bad: ZeroDivisionError: division by zero", "  raises: what to do"]
    assert end == "mend what they say and run the same command, which does only those"
    assert (tmp_path / "a").exists()
    assert (tmp_path / "b").read_text() == "(1, '1')"
    said = capfd.readouterr()
    assert said.out == ""  # what is printed is the caller's alone
    assert "stage X: 100%" in said.err
    assert "8/8" in said.err
    assert "TQDM_DISABLE" not in os.environ
    assert not active_children()


def test_nothing_to_do() -> None:
    in_processes(exec, {}, 2, "stage X", done=3)


def test_a_process_that_dies() -> None:
    """Which call killed it cannot be known; what is not done says so."""
    with pytest.raises(FailedError, match="dies: BrokenProcessPool: ") as caught:
        in_processes(exec, {"dies": ("__import__('os')._exit(3)",)}, 1, "stage X")
    assert "1 of 1 failed" in str(caught.value)
    assert not active_children()


def test_a_full_disk_ends_it(tmp_path: Path) -> None:
    """Those that had begun end as they do; others are not begun, for they would fail alike."""
    full = (
        "from focusgym.recognizer import CheckpointError as E\n"
        "try: raise OSError(28, 'no room', 'file')\nexcept OSError as e: raise E('why') from e"
    )
    calls = {"full": (full,)}
    calls |= {f"{i}": (f"open({str(tmp_path / str(i))!r}, 'w')",) for i in range(9)}
    with pytest.raises(OSError, match=r"^\[Errno 28\] No space left on device: 'file'$"):
        in_processes(exec, calls, 1, "stage X")
    assert len(list(tmp_path.iterdir())) < 5
    assert not active_children()


def test_an_interruption_waits_for_nobody() -> None:
    """Neither for the calls that run nor for those to come."""
    Timer(4, os.kill, (os.getpid(), signal.SIGINT)).start()
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        in_processes(time.sleep, {str(i): (SLEEP_S,) for i in range(4)}, 2, "stage X")
    assert time.monotonic() - start < 60
    assert not active_children()


def test_no_life_without_the_parent(tmp_path: Path) -> None:
    note = tmp_path / "note"
    sleeps = (
        f"import os, time; open({str(note)!r}, 'w').write(str(os.getpid())); time.sleep({SLEEP_S})"
    )
    code = f"""
from focusgym.runs.processes import in_processes
if __name__ == "__main__":
    in_processes(exec, {{"sleeps": ({sleeps!r},)}}, 1, "stage X")
"""
    (tmp_path / "parent.py").write_text(code)
    parent = subprocess.Popen(
        [sys.executable, str(tmp_path / "parent.py")], stderr=subprocess.DEVNULL
    )
    try:
        child = int(_wait_for(lambda: note.read_text() if note.exists() else ""))
        os.kill(child, 0)  # alive
    finally:
        parent.kill()
        parent.wait()
    assert _wait_for(lambda: "" if _alive(child) else "gone") == "gone"


def _alive(process: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state not in ("Z", "X")


def _wait_for(look: Any) -> str:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if found := look():
            return str(found)
        time.sleep(0.05)
    return ""
