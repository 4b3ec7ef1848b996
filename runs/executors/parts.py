"""The folder ``OUT.shards``, in which the parts of a cache are until they are merged."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex

from ...feature_cache.reading import journal
from ...feature_cache.reading.manifest import CacheError
from ...recognizer.files.disks import refusal
from ...recognizer.files.locks import locked

# A part; where one is until it is complete; one that was on its way here, or out; a part's lock.
_NAME = re.compile(r"([1-9][0-9]*)-of-([1-9][0-9]*)(\.partial|\.partial-[0-9a-f]{8}|\.lock)?")
_SHOWN = 5  # names in a message


def parts_folder(root: Path) -> Path:
    """Return the folder in which the parts of a cache are until they are merged."""
    return root.with_name(f"{root.name}.shards")


@contextmanager
def building_alone(root: Path) -> Iterator[None]:
    """Keep other builds in parts of the same cache out; nothing is left of the lock.

    Args:
        root: The cache's folder; the folder above it is made if needed.

    Raises:
        CacheError: If another process builds it, or nothing can be written there.
    """
    file = parts_folder(root).with_name(f"{root.name}.shards.lock")
    busy = CacheError(f"{root} is being built by another process: wait for it, or stop it")

    def refused(error: Exception) -> CacheError:
        return CacheError(refusal(root, error))

    try:
        root.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise refused(error) from error
    with locked(file, busy, refused):
        try:
            yield
        finally:
            file.unlink(missing_ok=True)


def parts_in(apart: Path) -> dict[Path, tuple[int, int]]:
    """Return what a build in parts has left in a folder, each with i and n of its part."""
    matches = {path: _NAME.fullmatch(path.name) for path in _all_in(apart)}
    return {
        path: (int(name[1]), int(name[2]))
        for path, name in matches.items()
        if name is not None and _is_part(path)
    }


def parts_begun(
    apart: Path, n_rows: int, n_parts: int | None = None, restart: bool = False
) -> int | None:
    """Return of how many parts a cache was begun; None if none was.

    Args:
        apart: The folder of the parts.
        n_rows: Rows of the cache: there is no part without one.
        n_parts: How many parts are asked for; None for as many as were begun.
        restart: Remove parts of another number, instead of refusing.

    Raises:
        CacheError: If something else is there, or parts that do not go together, or more of them
            than rows, or another number than is asked for.
    """
    if (apart.exists() or apart.is_symlink()) and not apart.is_dir():
        raise CacheError(f"{apart} is no folder, and the cache's parts go there: move it away")
    parts = parts_in(apart)
    others = [path.name for path in _all_in(apart) if path not in parts]
    if others:
        raise CacheError(
            f"{apart} holds what no build has made: {_shown(others)}; nothing was touched: this is "
            "where the parts of the cache are until they are merged, in folders such as 1-of-4: "
            "move the rest away, or give another folder for the cache"
        )
    numbers = {n for _, n in parts.values()}
    n = next(iter(numbers), None)
    if n is None:
        return None
    go_together = len(numbers) == 1 and all(i <= n for i, _ in parts.values()) and n <= n_rows
    if go_together and n_parts in (None, n):
        return n
    if restart:
        remove_parts(parts)
        return None
    if go_together:
        raise CacheError(
            f"{apart}: the cache was begun in {n} parts, and --shards asks for {n_parts}: leave "
            "--shards out to go on with those, or begin anew (--restart)"
        )
    raise CacheError(
        f"{apart} holds parts that are not of one cache of {n_rows} rows: "
        f"{_shown([path.name for path in parts])}; nothing was touched: move away those that are "
        "wrong, or begin anew (--restart)"
    )


def remove_parts(parts: Iterable[Path]) -> None:
    """Remove parts and their locks, and the folder that they are in when it is empty then."""
    for part in parts:
        if part.is_dir():
            # Renamed before it is deleted, so that what is half deleted is known by its name.
            away = part.with_name(f"{part.name.partition('.')[0]}.partial-{token_hex(4)}")
            part.rename(away)
            shutil.rmtree(away)
        else:
            part.unlink(missing_ok=True)
        with suppress(OSError):  # others are there
            part.parent.rmdir()


def _all_in(apart: Path) -> list[Path]:
    return sorted(apart.iterdir()) if apart.is_dir() else []


def _is_part(path: Path) -> bool:
    """Return whether what has the name of a part, or of its lock, is one."""
    if path.is_symlink():
        return False
    if path.suffix == ".lock":
        return path.is_file() and path.stat().st_size == 0
    if not path.is_dir():
        return False
    names = {each.name for each in path.iterdir()}
    match path.suffix:
        case "":
            return "manifest.json" in names
        case ".partial":  # its arrays are made before its journal
            begins = (f"{journal.NAME}.partial",)
            return journal.NAME in names or all(n.endswith((".npy", *begins)) for n in names)
    return True  # on its way: anything may be missing


def _shown(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
