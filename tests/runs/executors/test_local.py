"""Calls in processes: what fails is told and the others are made; nothing outlives its parent."""

from __future__ import annotations

import os
import pickle
import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor, wait
from multiprocessing import active_children, get_context
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from focusgym.runs.executors import local
from focusgym.runs.executors.local import LocalExecutor
from focusgym.runs.executors.node import Head, work
from focusgym.runs.executors.units import FailedError, Unit

SLEEP_S = 600  # longer than a test may take


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch, one_thread: None) -> None:
    """Fork processes, where nothing depends on how they begin: a new one imports torch anew."""
    monkeypatch.setattr(local, "get_context", lambda method: get_context("fork"))


def do(calls: dict[str, tuple[str]], jobs: int, done: int = 0) -> None:
    """Execute code as units."""
    LocalExecutor(jobs)(
        exec, {name: Unit(arguments) for name, arguments in calls.items()}, "stage X", done
    )


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
        do(calls, 1, done=3)
    head, *why, end = str(caught.value).splitlines()
    assert head == "stage X: 2 of 5 failed, the others are kept:"
    assert sorted(why) == ["  bad: ZeroDivisionError: division by zero", "  raises: what to do"]
    assert end == "mend what they say and run the same command, which does only those"
    assert (tmp_path / "a").exists()
    assert (tmp_path / "b").read_text() == "(1, '1')"
    captured = capfd.readouterr()
    assert captured.out == ""  # what is printed is the caller's alone
    assert "stage X: 100%" in captured.err
    assert "8/8" in captured.err
    assert "TQDM_DISABLE" not in os.environ
    assert not active_children()


def test_nothing_to_do() -> None:
    do({}, 2, done=3)


@pytest.mark.usefixtures("forked")
def test_a_process_that_dies() -> None:
    """Which ran then is told, and that the others were not begun."""
    calls = {"done": ("pass",), "killed": ("import os; os.kill(os.getpid(), 9)",)}
    with pytest.raises(FailedError) as caught:
        do({**calls, "later 0": ("pass",), "later 1": ("pass",)}, 1)
    head, *why, _ = str(caught.value).splitlines()
    assert head == "stage X: 3 of 4 failed, the others are kept:"
    assert why[0].startswith("  killed: ran when a process was killed, as is done where memory is")
    assert sorted(why[1:]) == [
        f"  later {i}: was not begun, for a process was killed" for i in range(2)
    ]
    assert not active_children()


@pytest.mark.usefixtures("forked")
def test_a_process_that_dies_while_units_are_handed_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that come too late are named too."""

    class Slow(ProcessPoolExecutor):
        def submit(self, *arguments: Any, **more: Any) -> Future[Any]:
            future = super().submit(*arguments, **more)
            wait([future])
            return future

    monkeypatch.setattr(local, "ProcessPoolExecutor", Slow)
    with pytest.raises(FailedError) as caught:
        do({"killed": ("import os; os.kill(os.getpid(), 9)",), "a": ("pass",), "b": ("pass",)}, 2)
    head, *why, _ = str(caught.value).splitlines()
    assert head == "stage X: 3 of 3 failed, the others are kept:"
    assert why[0].startswith("  killed: ran when a process was killed")
    assert why[1:] == [f"  {name}: was not begun, for a process was killed" for name in "ab"]
    assert not active_children()


@pytest.mark.usefixtures("forked")
def test_a_call_that_ends_its_process() -> None:
    with pytest.raises(FailedError, match="  ends: ended with status 3\n"):
        do({"ends": ("raise SystemExit(3)",)}, 1)


@pytest.mark.parametrize(
    ("status", "reason"), [(3, "3"), (None, "0"), ("no such file", "1: no such file")]
)
def test_a_call_that_ends_its_process_on_a_node(
    monkeypatch: pytest.MonkeyPatch, status: object, reason: str
) -> None:
    """It fails likewise, and Ray does not take its process for lost."""
    monkeypatch.setattr(Head, "join", lambda head: None)
    became = work(Head(""), pickle.dumps(sys.exit), pickle.dumps((status,)), None)
    assert became.failure.startswith(f"ended with status {reason} (on ")


@pytest.mark.usefixtures("forked")
def test_modules_that_are_imported_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a process of this machine and on a node, which tells if it lacks one."""
    (tmp_path / "own_to_units.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    trust, code = ("own_to_units",), "import sys; sys.modules['own_to_units']"
    LocalExecutor(1, trust)(exec, {"first": Unit((code,))}, "stage X")
    assert "own_to_units" not in sys.modules
    try:
        here = str(tmp_path)
        pickled_call = pickle.dumps(exec), pickle.dumps((code,)), None
        monkeypatch.chdir(tmp_path)  # put back: a node goes where the command was typed
        assert not work(Head(here, trust=trust), *pickled_call).failure
        failure = work(Head(here, trust=("no_module_of_mine",)), *pickled_call).failure
        assert "--trust no_module_of_mine: No module named" in failure
    finally:
        sys.modules.pop("own_to_units", None)


@pytest.mark.usefixtures("forked")
def test_a_full_disk_ends_it(tmp_path: Path) -> None:
    """Those that had begun end as they do; others are not begun, for they would fail alike."""
    full = (
        "from focusgym.recognizer import CheckpointError as E\n"
        "try: raise OSError(28, 'no room', 'file')\nexcept OSError as e: raise E('why') from e"
    )
    calls = {"full": (full,)}
    slow = "__import__('time').sleep(0.2); open({!r}, 'w')"  # the others can be called off
    calls |= {f"{i}": (slow.format(str(tmp_path / str(i))),) for i in range(9)}
    with pytest.raises(OSError, match=r"^\[Errno 28\] No space left on device: 'file'$"):
        do(calls, 1)
    assert len(list(tmp_path.iterdir())) < 5
    assert not active_children()


@pytest.mark.usefixtures("forked")
def test_an_interruption_waits_for_nobody(tmp_path: Path) -> None:
    """Neither for the calls that run nor for those to come."""

    def interrupt() -> None:
        _wait_for(lambda: len(list(tmp_path.iterdir())) == 2)
        os.kill(os.getpid(), signal.SIGINT)

    # Where the tests run in the background of a script, the shell has interruptions ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    Thread(target=interrupt).start()
    calls = {str(i): (_sleeper(tmp_path / str(i)),) for i in range(4)}
    try:
        with pytest.raises(KeyboardInterrupt):
            do(calls, 2)
    finally:
        signal.signal(signal.SIGINT, before)
    assert not active_children()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1"], "others do not begin"


@pytest.mark.usefixtures("forked")
def test_no_life_without_the_parent(tmp_path: Path) -> None:
    """Killed, it cannot end its processes; they see to it themselves."""
    note = tmp_path / "note"
    parent = os.fork()
    if parent == 0:
        do({"sleeps": (_sleeper(note),)}, 1)
        os._exit(0)
    try:
        _wait_for(lambda: note.exists() and note.read_text() != "")
        child = int(note.read_text())
        assert _alive(child)
    finally:
        os.kill(parent, signal.SIGKILL)
        os.waitpid(parent, 0)
    _wait_for(lambda: not _alive(child))


def _sleeper(note: Path) -> str:
    """Return code that tells which process it is in, and sleeps."""
    return (
        f"import os, time; open({str(note)!r}, 'w').write(str(os.getpid())); time.sleep({SLEEP_S})"
    )


def _alive(process: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state not in ("Z", "X")


def _wait_for(true: Callable[[], bool]) -> None:
    """Wait until something is true; far longer than it takes on the busiest machine."""
    end = time.monotonic() + SLEEP_S / 2
    while not true():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)
