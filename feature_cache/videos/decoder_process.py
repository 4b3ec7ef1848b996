"""The process that decodes: it answers requests until the process that asks is gone."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, NamedTuple

from .container import VideoError
from .pictures import OutOfStepError

MOST_BYTES = 1 << 33  # of memory that is asked for, by decoders and for their pictures
SHARED_BYTES = 1 << 20  # an array of fewer is sent with the rest: copying it is faster
ALIGNED = 64  # bytes: where arrays begin in shared memory
_STANDARD_INPUT = 0


class Request(NamedTuple):
    """What is asked.

    Attributes:
        folder: Where relative paths begin; empty if that is no longer there.
        limit_s: How long the answer may take, seconds of computing.
        function: What is called: of a module, which is imported here.
        args: Arguments of the function.
    """

    folder: str
    limit_s: float
    function: Callable[..., Any]
    args: tuple[Any, ...]


class Reply(NamedTuple):
    """What is answered; after it a file of memory comes, if it holds large arrays.

    Attributes:
        kind: ``value``; ``item`` of an iterator, ``end`` of it; ``error``.
        sizes: Bytes of each of these arrays, in the file of memory.
        content: All but these arrays, pickled.
    """

    kind: str
    sizes: list[int]
    content: bytes


def serve() -> None:
    """Answer what comes through the socket that is this process's standard input.

    What a decoder does to this process ends this process alone: after `Request.limit_s` of
    computing it is ended by a signal; beyond `MOST_BYTES` no memory is given; and where memory is
    short, the system ends this process first.
    """
    import resource  # of POSIX

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal: the one that asks decides
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    limit = MOST_BYTES if most == resource.RLIM_INFINITY else min(MOST_BYTES, most)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError):  # Linux only
        Path("/proc/self/oom_score_adj").write_text("1000")
    line = Connection(_STANDARD_INPUT)
    sender = socket.socket(fileno=os.dup(_STANDARD_INPUT))
    _reply(line, sender, "value", None)
    with suppress(EOFError, ConnectionError):
        while True:
            request: Request = line.recv()
            if request.folder:
                os.chdir(request.folder)
            signal.setitimer(signal.ITIMER_PROF, request.limit_s)
            for kind, value in _answers(request):
                _reply(line, sender, kind, value)
                if kind == "item":
                    line.recv()
            signal.setitimer(signal.ITIMER_PROF, 0)


def _answers(request: Request) -> Iterator[tuple[str, Any]]:
    try:
        answer = request.function(*request.args)
        if isinstance(answer, Iterator):
            for item in answer:
                yield "item", item
            yield "end", None
        else:
            yield "value", answer
    except (VideoError, OutOfStepError, MemoryError) as error:
        yield "error", error
    except OSError as error:  # of a disk: PyAV's own kind of it cannot be pickled
        yield "error", OSError(error.errno, error.strerror, error.filename)
    except Exception:  # a mistake of ours: told where it is seen
        yield "error", RuntimeError(f"in the process that decodes:\n{traceback.format_exc()}")


def _reply(line: Connection, sender: socket.socket, kind: str, value: Any) -> None:
    arrays: list[memoryview] = []

    def is_sent_with_it(buffer: pickle.PickleBuffer) -> bool:
        array = buffer.raw()
        if array.nbytes >= SHARED_BYTES:
            arrays.append(array)
        return array.nbytes < SHARED_BYTES

    content = pickle.dumps(value, protocol=5, buffer_callback=is_sent_with_it)
    line.send(Reply(kind, [array.nbytes for array in arrays], content))
    if arrays:
        with _memory() as memory:
            for array in arrays:
                left = array
                while left.nbytes:  # Linux writes 2 GiB at a time
                    left = left[memory.write(left) :]
                memory.seek(-array.nbytes % ALIGNED, os.SEEK_CUR)
            memory.truncate()
            socket.send_fds(sender, [b"\0"], [memory.fileno()])


def _memory() -> Any:
    """Return a file in memory, without a name; on the disk where the system has no such files."""
    if hasattr(os, "memfd_create"):
        return open(os.memfd_create("pictures", os.MFD_CLOEXEC), "wb", buffering=0)
    return TemporaryFile(buffering=0)
