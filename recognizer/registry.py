"""Classes and functions by name: this project's own, and a user's by ``module:attribute``."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Mapping
from importlib import import_module
from types import ModuleType
from typing import Any, TypeVar

T = TypeVar("T")


class NotImported(ValueError):
    """A file names a module that was not imported; the file is not wrong, and the message helps."""


def find(what: str, name: str, known: Mapping[str, Any], *, trusted: bool) -> Any:
    """Return what a name stands for.

    Args:
        what: What messages call it.
        name: One of ``known``, or ``module:attribute`` of something that Python finds.
        known: This project's own, by name; or where it is, as ``module:attribute``.
        trusted: Whether a module that is not this project's may be imported. A name that comes
            from a file is not trusted: its module has to be imported before.

    Raises:
        ValueError: If there is no such thing, or its module was not imported and the name is not
            trusted.
    """
    if not isinstance(name, str):
        raise ValueError(f"{what} must be a name; got {name!r:.80}")
    place = known.get(name, name)
    if not isinstance(place, str):
        return place
    module, separator, attribute = place.partition(":")
    expected = f"{what} must be one of {', '.join(known)}, or 'module:attribute'"
    if not separator:
        close = difflib.get_close_matches(name, known, 1)
        hint = f"{what} {name!r}: did you mean {close[0]!r}? " if close else ""
        raise ValueError(f"{hint}{expected} of your own; got {name!r}")
    if not trusted and name not in known:
        check_imported(what, name, module)
    try:
        return getattr(import_named(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{expected} that Python finds; got {name!r} ({error})") from error


def import_named(module: str) -> ModuleType:
    """Import a module that somebody names.

    Raises:
        ImportError: If Python does not find it, or what is named can be no module.
    """
    try:
        return import_module(module)
    except (ValueError, TypeError) as error:  # an empty name; one that begins with a point
        raise ImportError(str(error)) from error


def place_of(what: str, kind: type) -> str:
    """Return the name ``module:attribute`` by which a file holds a class.

    Args:
        what: What messages call it.
        kind: The class.

    Raises:
        ValueError: If it is a class inside a function or a class, or of a program's main module,
            which no name finds again.
    """
    place = f"{kind.__module__}:{kind.__qualname__}"
    if "." in kind.__qualname__ or kind.__module__ == "__main__":
        raise ValueError(
            f"a bundle holds {what} by name, and {place} cannot be found by its own: "
            "define the class at the top of a module that is imported"
        )
    return place


def check_imported(what: str, name: str, module: str) -> None:
    """Refuse a name from a file whose module was not imported before, or is Python's own.

    Args:
        what: What messages call it.
        name: ``module:attribute``.
        module: That of the name.

    Raises:
        NotImported: If its module was not imported.
        ValueError: If it is Python's own.
    """
    if module not in sys.modules:
        raise NotImported(
            f"{what} {name!r} is of another module, which a file may not import: import {module} "
            f"first, if it is yours (--trust {module} does)"
        )
    if module.partition(".")[0] in sys.stdlib_module_names:
        raise ValueError(f"{what} {name!r} is of Python's own module, which no file may name")


def find_class(
    what: str, name: str, known: Mapping[str, str], base: type[T], *, trusted: bool
) -> type[T]:
    """Return the class that a name stands for; see `find`.

    Args:
        what: What messages call it.
        name: One of ``known``, or ``module:attribute``.
        known: Where this project's own classes are, by name.
        base: What the class has to be derived from.
        trusted: Whether a module that is not this project's may be imported.

    Raises:
        ValueError: As `find`, or if it is no class derived from ``base``.
    """
    kind = find(what, name, known, trusted=trusted)
    if not (isinstance(kind, type) and issubclass(kind, base)):
        raise ValueError(
            f"{what} must be a class derived from focusgym.recognizer.{base.__name__}; got "
            f"{name!r}, which is {kind!r}"
        )
    return kind
