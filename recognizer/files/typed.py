"""From the JSON of a file to frozen dataclasses: every value is of its field's type, or refused."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from functools import lru_cache
from numbers import Real
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")

_MOST_INTEGER = 2**63 - 1
_WORDS = {int: "an integer", float: "a finite number", str: "a text", bool: "true or false"}


def typed(cls: type[T], content: Any, where: str = "", *, others: bool = False) -> T:
    """Build a dataclass from a JSON object, after checking that every value is of its type.

    Fields may be of integers (of 64 bits), finite floats, texts, paths, booleans, ``None``, lists,
    tuples, mappings from texts, `Literal`, unions, other dataclasses, and `Any`, which is not
    checked.

    Args:
        cls: A dataclass, whose own checks come last.
        content: What the file holds.
        where: Name of that part of the file, for messages.
        others: Whether the object may have other keys, which are passed over.

    Raises:
        ValueError: If it is no object, a key is missing or unknown, a value is of another type, or
            the dataclass refuses it.
    """
    if not isinstance(content, Mapping):
        raise ValueError(f"{where or 'the content'} must be an object; got {content!r:.80}")
    known = {each.name: each for each in fields(cls) if each.init}  # type: ignore[arg-type]
    unknown = [key for key in content if key not in known]
    if unknown and not others:
        raise ValueError(f"{_at(where, unknown[0])} is unknown: expected {', '.join(known)}")
    hints, values = _hints(cls), {}  # type: ignore[arg-type]
    for name, each in known.items():
        if name in content:
            values[name] = typed_value(hints[name], content[name], _at(where, name))
        elif each.default is MISSING and each.default_factory is MISSING:
            raise ValueError(f"{_at(where, name)} is missing")
    return cls(**values)


@lru_cache(maxsize=64)
def _hints(cls: Hashable) -> dict[str, Any]:
    return get_type_hints(cls)


def _at(where: str, key: object) -> str:
    name = f"{key!s:.80}"
    return f"{where}.{name}" if where else name


def typed_value(hint: Any, value: Any, where: str) -> Any:
    """Return a value as a field of a type has it; lists become tuples where the field is one.

    Raises:
        ValueError: If it is of another type.
    """
    origin, parts = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin in (Union, UnionType):
        return _one_of(parts, value, where)
    if origin is Literal:
        if value not in parts:
            raise _wrong(f"one of {', '.join(map(str, parts))}", value, where)
        return value
    if origin is tuple:
        return _tuple(parts, value, where)
    if origin in (list, Sequence):
        if not isinstance(value, list):
            raise _wrong("a list", value, where)
        return [typed_value(parts[0], each, f"{where}[{i}]") for i, each in enumerate(value)]
    if isinstance(origin, type) and issubclass(origin, Mapping):
        if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
            raise _wrong("an object", value, where)
        return {key: typed_value(parts[1], each, _at(where, key)) for key, each in value.items()}
    if is_dataclass(hint):
        return value if isinstance(value, hint) else typed(hint, value, where)  # type: ignore[arg-type]
    return _scalar(hint, value, where)


def is_finite(value: object) -> bool:
    """Say whether a value is a number that a float can hold; a boolean is none."""
    try:
        return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an integer of hundreds of digits
        return False


def _one_of(hints: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and NoneType in hints:
        return None
    others = [hint for hint in hints if hint is not NoneType]
    for hint in others[:-1]:
        try:
            return typed_value(hint, value, where)
        except ValueError:
            continue
    return typed_value(others[-1], value, where)


def _tuple(parts: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise _wrong("a list", value, where)
    hints = [parts[0]] * len(value) if parts[1:] == (...,) else [*parts]
    if len(hints) != len(value):
        raise _wrong(f"a list of {len(hints)} values", value, where)
    pairs = zip(hints, value, strict=True)
    return tuple(typed_value(hint, each, f"{where}[{i}]") for i, (hint, each) in enumerate(pairs))


def _scalar(hint: Any, value: Any, where: str) -> Any:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if hint is float and is_number and abs(value) <= _MOST_INTEGER:
        return float(value) if isinstance(value, float) else value
    if hint is float and isinstance(value, float) and math.isfinite(value):
        return value
    if hint is int and isinstance(value, int) and is_number and abs(value) <= _MOST_INTEGER:
        return value
    if hint is Path and isinstance(value, str):
        return value
    if hint in (str, bool, NoneType) and isinstance(value, hint):
        return value
    raise _wrong(_WORDS.get(hint, f"a {getattr(hint, '__name__', hint)}"), value, where)


def _wrong(expected: str, value: Any, where: str) -> ValueError:
    return ValueError(f"{where} must be {expected}; got {value!r:.80}")
