"""Paths among a verb's options that no file can have, refused before anything is opened."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from ...recognizer.files.disks import refusal
from .checks import OptionError

# Of a name that is too long, or of links that lead in a circle.
_NEVER = (errno.ENAMETOOLONG, errno.ELOOP)


def check_paths(config: Any) -> None:
    """Check the paths of a verb's options, and that where it writes no link leads nowhere.

    Raises:
        OptionError: If a path has a null character, or a part that is longer than the file system
            allows; or if the output, or a folder above it, is a link to what is not there.
    """
    for name, path in _paths(config):
        if "\0" in str(path):
            raise OptionError(
                f"--{name}: {str(path)!r:.80} has a null character: give another path"
            )
        try:
            os.stat(path)
        except OSError as error:
            if error.errno in _NEVER:
                raise OptionError(refusal(path, error, "give another path")) from error
        if name != "out":
            continue
        for place in (path, *path.parents):
            if place.is_symlink() and not place.exists():
                raise OptionError(
                    f"{path} cannot be written: {place} is a link to {os.readlink(place)}, which "
                    "is not there: remove the link, or give another path"
                )


def _paths(config: Any) -> Iterator[tuple[str, Path]]:
    """Yield the paths of options, each with the option's name."""
    for each in fields(config):
        value = getattr(config, each.name)
        if is_dataclass(value):
            yield from _paths(value)
        else:
            several = value if isinstance(value, tuple) else (value,)
            name = each.name.replace("_", "-")
            yield from ((name, one) for one in several if isinstance(one, Path))
