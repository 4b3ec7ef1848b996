"""Classes by name: this project's own, and a user's by ``module:attribute``."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module
from typing import TypeVar

T = TypeVar("T")


def found(
    what: str, name: str, known: Mapping[str, str], base: type[T], *, trusted: bool
) -> type[T]:
    """Return the class that a name stands for.

    Args:
        what: What messages call it.
        name: One of ``known``, or ``module:attribute`` of a class that Python finds.
        known: ``module:attribute`` of this project's own classes, by name.
        base: What the class has to be derived from.
        trusted: Whether a module that is not this project's may be imported. A name that comes
            from a file is not trusted: its module has to be imported before.

    Raises:
        ValueError: If there is no such class, it is not derived from ``base``, or its module was
            not imported and the name is not trusted.
    """
    place = known.get(name, name)
    module, separator, attribute = place.partition(":")
    expected = f"{what} must be one of {', '.join(known)}, or 'module:attribute' of a class"
    if not separator:
        raise ValueError(f"{expected} of your own; got {name!r}")
    if not trusted and name not in known and module not in sys.modules:
        raise ValueError(
            f"{what} {name!r} is a class of another module, which a file may not import: import "
            f"{module} first"
        )
    try:
        kind = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"{expected} that Python finds; got {name!r} ({error})") from error
    if not (isinstance(kind, type) and issubclass(kind, base)):
        raise ValueError(
            f"{expected} derived from focusgym.recognizer.{base.__name__}; got {name!r}, which is "
            f"{kind!r}"
        )
    return kind
