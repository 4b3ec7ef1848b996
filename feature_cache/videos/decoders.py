"""Decoding in processes of its own: a file that makes a decoder crash or hang ends no other work.

What calls FFmpeg, Pillow or decord on a file of somebody's is called through here, and what writes
the embedded videos, so that threads do not wait for one another. A process is started for every
thread that asks, and kept; pictures come through shared memory.
"""

from __future__ import annotations

import atexit
import mmap
import os
import pickle
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from tempfile import TemporaryFile
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from . import images, index, pictures
from .container import VideoError
from .decoder_process import ALIGNED, MOST_BYTES, Reply, Request
from .index import VideoIndex
from .pictures import Picture

# Of computing, for all of a file; in order, a decoder reads several megabytes in a second.
LIMIT_S, LIMIT_S_PER_BYTE = 600.0, 1e-6
WAIT_S = 10  # times as long may it take in all, on a machine that does other things too
HAS_PROCESSES = os.name == "posix"  # elsewhere, files of memory are not handed over
_ADVICE = "replace the file, or leave it out"
_SERVES = "focusgym.feature_cache.videos.decoder_process"
_STDERR_BYTES = 2000
_DYING_S = 5.0
T = TypeVar("T")


def read_index(path: str) -> VideoIndex:
    """Read a file's index; see `index.read_index`."""
    return contained(path, index.read_index, path, index.SHORT_FRAMES)


def read_pictures(
    video_index: VideoIndex, indices: NDArray[np.int64]
) -> tuple[NDArray[np.uint8], VideoIndex]:
    """Decode frames of a file; see `pictures.read_pictures`."""
    return contained(video_index.path, pictures.read_pictures, video_index, indices)


def count_in_order(video_index: VideoIndex) -> VideoIndex:
    """Return the index that decoding all of a file tells; see `pictures.count_in_order`."""
    return contained(video_index.path, pictures.count_in_order, video_index)


def read_every(path: str, indices: NDArray[np.int64]) -> tuple[NDArray[np.uint8], int]:
    """Decode a file plainly; see `pictures.read_every`."""
    return contained(path, pictures.read_every, path, indices)


def every_picture(path: str) -> Iterator[Picture]:
    """Decode a file plainly, picture by picture; see `pictures.every_picture`."""
    yield from _items(path, pictures.every_picture, path)


def read_images(folder: str, template: str, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Read images; see `images.read_images`."""
    return contained(folder, images.read_images, folder, template, indices)


def contained(path: str, function: Callable[..., T], *args: Any) -> T:
    """Call a function in a process that decodes.

    Args:
        path: Of the file that it reads, to be named, and whose size says how long it may take.
        function: Of a module; its result can be pickled.
        args: What it takes, likewise.

    Raises:
        VideoError: As the function does; and if the process dies, or the function takes too long
            or too much memory.
    """
    if not HAS_PROCESSES:
        return function(*args)
    with _POOL.decoder() as decoder:
        decoder.ask(path, function, args)
        answer: T = decoder.answer()[1]
        return answer


def _items(path: str, function: Callable[..., Iterator[T]], *args: Any) -> Iterator[T]:
    """Call a function that yields in a process that decodes, which is one item ahead."""
    if not HAS_PROCESSES:
        yield from function(*args)
        return
    with _POOL.decoder() as decoder:
        decoder.ask(path, function, args)
        while True:
            kind, item = decoder.answer()
            if kind == "end":
                return
            decoder.go_on()
            yield item


class _Decoder:
    """A process that decodes, and the line to it."""

    def __init__(self) -> None:
        """Start it.

        Raises:
            RuntimeError: If it does not start.
        """
        self.is_idle = True
        self._path, self._limit_s = "", LIMIT_S
        self._stderr = TemporaryFile()  # noqa: SIM115 - what a library prints before it aborts
        ours, its = socket.socketpair()
        code = f"import sys; sys.path[:] = {sys.path!r}; from {_SERVES} import serve; serve()"
        with its:
            self.process = subprocess.Popen(
                [sys.executable, "-c", code],
                stdin=its.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=self._stderr,
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # else memory for each core
            )
        self._receiver, self._line = ours, Connection(os.dup(ours.fileno()))
        try:
            self._line.recv()
        except (EOFError, ConnectionError) as error:
            raise RuntimeError(f"no process starts that decodes videos: {self.end()}") from error

    def ask(self, path: str, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        """Let it call a function on a file."""
        n_bytes = os.path.getsize(path) if os.path.isfile(path) else 0
        self._path, self._limit_s = path, LIMIT_S + LIMIT_S_PER_BYTE * n_bytes
        try:
            folder = os.getcwd()
        except FileNotFoundError:
            folder = ""
        self.is_idle = False
        with suppress(ConnectionError):  # it has died: `answer` says so
            self._line.send(Request(folder, self._limit_s, function, args))

    def go_on(self) -> None:
        """Ask for the next item."""
        with suppress(ConnectionError):
            self._line.send(None)

    def answer(self) -> tuple[str, Any]:
        """Wait for a reply.

        Returns:
            Its kind, as `Reply` has it, and what is answered.

        Raises:
            VideoError: Or what else was raised there; also if the process has died or takes too
                long, which ends it.
        """
        try:
            if not self._line.poll(WAIT_S * self._limit_s):
                self.end()
                raise self._refused(f"it takes more than {WAIT_S * self._limit_s:.0f} s")
            reply: Reply = self._line.recv()
            content = pickle.loads(reply.content, buffers=self._arrays(reply.sizes))
        except (EOFError, ConnectionError):
            raise self._refused(self.end()) from None
        self.is_idle = reply.kind != "item"
        if isinstance(content, MemoryError):
            raise self._refused(f"that takes more than {MOST_BYTES >> 30} GiB of memory")
        if reply.kind == "error":
            raise content
        return reply.kind, content

    def end(self) -> str:
        """End the process, if it has not ended by itself; returns how it did."""
        self._line.close()
        self._receiver.close()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(_DYING_S)
        self.process.kill()
        status = self.process.wait()
        size = self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, size - _STDERR_BYTES))
        printed = self._stderr.read().decode(errors="replace").strip()
        self._stderr.close()
        if status == -signal.SIGPROF:
            return f"it takes more than {self._limit_s:.0f} s of computing"
        if status == -signal.SIGKILL:
            return "its decoder was killed, as is done where memory is short"
        name = signal.Signals(-status).name if status < 0 else f"exit status {status}"
        return f"its decoder ended with {name}" + (f": {printed}" if printed else "")

    def forget(self) -> None:
        """Leave the process to the one that this one was forked from."""
        self._line.close()
        self._receiver.close()
        self._stderr.close()
        self.process.returncode = 0  # it is not waited for here

    def _arrays(self, sizes: list[int]) -> list[memoryview]:
        if not sizes:
            return []
        _, (descriptor,), _, _ = socket.recv_fds(self._receiver, 1, 1)
        try:
            shared = memoryview(mmap.mmap(descriptor, 0, mmap.MAP_PRIVATE))
        finally:
            os.close(descriptor)
        ends = np.cumsum([size + -size % ALIGNED for size in sizes]).tolist()
        begins = [0, *ends[:-1]]
        return [shared[at : at + size] for at, size in zip(begins, sizes, strict=True)]

    def _refused(self, why: str) -> VideoError:
        return VideoError(f"{self._path} cannot be decoded ({why}): {_ADVICE}")


class _Pool:
    """The processes that decode: as many as threads have asked at the same time."""

    def __init__(self) -> None:
        self._idle: list[_Decoder] = []

    @contextmanager
    def decoder(self) -> Iterator[_Decoder]:
        """Lend a process to the block; one that has not answered then is ended."""
        decoder = self._take()
        try:
            yield decoder
        finally:
            if decoder.is_idle:
                self._idle.append(decoder)
            elif decoder.process.returncode is None:
                decoder.process.kill()
                decoder.end()

    def _take(self) -> _Decoder:
        while self._idle:
            decoder = self._idle.pop()
            if decoder.process.poll() is None:
                return decoder
            decoder.end()
        return _Decoder()

    def end(self) -> None:
        """End all; they are told by their lines' end."""
        while self._idle:
            self._idle.pop().end()

    def forget(self) -> None:
        """Leave all to the process that this one was forked from."""
        while self._idle:
            self._idle.pop().forget()


_POOL = _Pool()
atexit.register(_POOL.end)
if HAS_PROCESSES:
    os.register_at_fork(after_in_child=_POOL.forget)
