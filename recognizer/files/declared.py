"""Sizes that files of arrays declare, held against their lengths before any memory is taken."""

from __future__ import annotations

import os
import tokenize
import zipfile
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from math import prod
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray
from torch import Tensor

from .regular import check_regular, open_regular

MOST_HEADER_BYTES = 2**26  # of safetensors: names and shapes, and what a checkpoint notes
MOST_ARCHIVE_BYTES = 2**30  # of all arrays of an .npz file
_DEFLATED = 1032  # bytes that one byte of a deflated file can stand for, at most


class DeclaredError(ValueError):
    """What a file declares is not what it can hold; the message says which."""


@dataclass(frozen=True)
class NpyHeader:
    """What the header of an ``.npy`` file declares.

    Attributes:
        shape: Shape of the array.
        dtype: Of its values; never Python objects.
        is_fortran: Whether the first axis varies fastest.
        offset: Length of the header, bytes.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    is_fortran: bool
    offset: int

    @property
    def n_bytes(self) -> int:
        """The length of the file that this header is of, bytes."""
        return self.offset + prod(self.shape) * self.dtype.itemsize


def npy_header(file: IO[bytes], name: str, n_bytes: int) -> NpyHeader:
    """Read the header of an ``.npy`` file, and hold what it declares against the file's length.

    Args:
        file: Open at its beginning.
        name: Of the file, for messages.
        n_bytes: Length of the whole file, bytes.

    Raises:
        ValueError: If it is no such header, it is of Python objects, or it declares another length.
    """
    try:
        version = npy.read_magic(file)
        read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[version]
        shape, is_fortran, dtype = read(file)
    # What a crafted header raises beside ValueError.
    except (
        *(ValueError, TypeError, LookupError, OverflowError, MemoryError),
        *(SyntaxError, tokenize.TokenError),
    ) as error:
        raise DeclaredError(f"{name} has no readable header") from error
    if dtype.hasobject or dtype.fields is not None or min(shape, default=0) < 0:
        raise DeclaredError(f"{name} declares values of type {dtype!s:.80} and shape {shape!s:.80}")
    header = NpyHeader(tuple(map(int, shape)), dtype, is_fortran, file.tell())
    if header.n_bytes != n_bytes:
        raise DeclaredError(
            f"{name} declares {shape!s:.80} values of {dtype}, which take {header.n_bytes} bytes, "
            f"and has {n_bytes}"
        )
    return header


def map_array(path: str | os.PathLike[str]) -> NDArray[Any]:
    """Map an ``.npy`` file, read-only, after its header was held against its length.

    Raises:
        OSError: If it cannot be read, or is no regular file.
        ValueError: As `npy_header`.
    """
    with open_regular(path) as file:
        n_bytes = os.fstat(file.fileno()).st_size
        header = npy_header(file, os.path.basename(path), n_bytes)
        order = "F" if header.is_fortran else "C"
        if not prod(header.shape) or not header.dtype.itemsize:  # nothing to map
            return np.empty(header.shape, header.dtype)
        return np.memmap(file, header.dtype, "r", header.offset, header.shape, order)  # type: ignore[call-overload, no-any-return]


def read_npz(path: str | os.PathLike[str], names: Collection[str]) -> dict[str, NDArray[Any]]:
    """Read arrays of an ``.npz`` file; nothing in it is executed.

    Args:
        path: The file.
        names: Of the arrays; those that are not there are left out.

    Raises:
        OSError: If it cannot be read, or is no regular file.
        ValueError: If it is no such file, it is damaged, or it declares arrays that its length
            cannot hold, or of more than `MOST_ARCHIVE_BYTES`.
    """
    arrays = {}
    with open_regular(path) as stream:
        try:
            with zipfile.ZipFile(stream) as archive:
                members = {each.filename: each for each in archive.infolist()}
                wanted = {
                    each: members[f"{each}.npy"] for each in names if f"{each}.npy" in members
                }
                _check_members([*wanted.values()])
                for name, member in wanted.items():
                    with archive.open(member) as file:
                        header = npy_header(file, member.filename, member.file_size)
                        content = file.read(member.file_size)
                    order = "F" if header.is_fortran else "C"
                    flat = np.frombuffer(content, header.dtype, prod(header.shape))
                    arrays[name] = flat.reshape(header.shape, order=order).copy()  # type: ignore[call-overload]
        # RuntimeError: an encrypted one.
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
            raise DeclaredError(f"it is no intact archive: {error}") from error
    return arrays


def _check_members(members: list[zipfile.ZipInfo]) -> None:
    declared = sum(each.file_size for each in members)
    if declared > MOST_ARCHIVE_BYTES:
        raise DeclaredError(f"it declares {declared} bytes, more than {MOST_ARCHIVE_BYTES}")
    for each in members:
        if each.file_size > max(1, each.compress_size) * _DEFLATED:
            raise DeclaredError(
                f"{each.filename} declares {each.file_size} bytes, and has {each.compress_size} "
                "compressed"
            )


def check_tensors(path: str | os.PathLike[str]) -> None:
    """Hold the length of a safetensors header against the file's, and a limit, before it is read.

    What the header declares of its tensors the library itself holds against the length.

    Raises:
        OSError: If it cannot be read, or is no regular file.
        ValueError: If the header is longer than the file, or than `MOST_HEADER_BYTES`.
    """
    with open_regular(path) as file:
        n_bytes = os.fstat(file.fileno()).st_size
        header = int.from_bytes(file.read(8), "little")
    if n_bytes < 8 or header > n_bytes - 8:
        raise DeclaredError(f"{os.path.basename(path)} is cut short, or no safetensors file")
    if header > MOST_HEADER_BYTES:
        raise DeclaredError(
            f"{os.path.basename(path)} has a header of {header} bytes, more than "
            f"{MOST_HEADER_BYTES}"
        )


def read_tensors(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file.

    Raises:
        OSError, ValueError: As `check_tensors`.
        SafetensorError: If the file is damaged.
    """
    from safetensors.torch import load_file

    check_tensors(path)
    return load_file(path)


def check_torch_archive(path: str | os.PathLike[str]) -> None:
    """Refuse a file of torch's whose entries are compressed: they take what memory they like.

    Raises:
        OSError: If it cannot be read, or is no regular file.
        ValueError: If its entries declare more bytes than the file has.
    """
    n_bytes = check_regular(path)
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            declared = sum(each.file_size for each in archive.infolist())
    except (zipfile.BadZipFile, NotImplementedError, ValueError):
        return  # the older format, which has no entries; or damaged, which torch says
    if declared > n_bytes:
        raise DeclaredError(f"its entries declare {declared} bytes, and it has {n_bytes}")
