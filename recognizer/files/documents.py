"""JSON and YAML from files and options: one reader for each, with limits on size and depth.

Imports nothing heavy.
"""

from __future__ import annotations

import json
import os
from typing import Any

import yaml

from .regular import read_limited

MOST_JSON_BYTES = 2**24
MOST_YAML_BYTES = 2**18  # YAML is for what people write: a preset has a few thousand
MOST_YAML_VALUES = 20_000  # with every alias written out
MOST_DEPTH = 64
_DIGITS = 308  # of an integer: the most with which each of them has a float


class DocumentError(ValueError):
    """A text is no JSON or YAML that is accepted; the message says why, on one line."""


def read_json(path: str | os.PathLike[str], most_bytes: int = MOST_JSON_BYTES) -> Any:
    """Read a JSON file.

    Args:
        path: The file.
        most_bytes: The greatest length that is read, bytes.

    Raises:
        OSError: If it cannot be read, or is no regular file.
        ValueError: If it is too long, no text in UTF-8, no JSON, or nested too deeply.
    """
    return parse_json(read_limited(path, most_bytes).decode("utf-8"))


def parse_json(text: str | bytes) -> Any:
    """Return what a JSON text says.

    Raises:
        ValueError: If it is no JSON, is nested deeper than `MOST_DEPTH`, or has an integer of
            hundreds of digits.
    """
    try:
        content = json.loads(text, parse_int=_integer)
    except RecursionError as error:
        raise DocumentError(_TOO_DEEP) from error
    _check_depth(content)
    return content


def read_yaml(path: str | os.PathLike[str]) -> Any:
    """Read a YAML file; raises as `read_json`."""
    return parse_yaml(read_limited(path, MOST_YAML_BYTES).decode("utf-8"))


def parse_yaml(text: str) -> Any:
    """Return what a YAML text says, as plain values.

    Raises:
        DocumentError: If it is no YAML, is longer than `MOST_YAML_BYTES`, is nested deeper than
            `MOST_DEPTH`, has an integer of hundreds of digits, or has more than `MOST_YAML_VALUES`
            values where aliases (``*name``), with which a short text can stand for gigabytes, are
            written out.
    """
    if len(text) > MOST_YAML_BYTES:
        raise DocumentError(f"it has more than {MOST_YAML_BYTES} characters")
    try:
        return _Loader(text).read()
    except DocumentError:
        raise
    except yaml.YAMLError as error:  # of several lines
        raise DocumentError(" ".join(str(error).split())) from error
    # What the library's constructors raise where a tag such as !!timestamp stands before what is
    # no such value, or a value is none, such as the 31st of June.
    except (ValueError, TypeError, AttributeError, LookupError, ArithmeticError) as error:
        raise DocumentError(f"it holds a value that is none ({error})") from error


_TOO_DEEP = f"it is nested deeper than {MOST_DEPTH} levels"


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which makes nothing but plain values, with limits."""

    _depth = 0

    def read(self) -> Any:
        """Return what the text says; its tree is measured before values are made of it."""
        try:
            root = self.get_single_node()
            if root is None:
                return None
            _expanded(root, {})
            return self.construct_document(root)
        finally:
            self.dispose()

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Build a node of the tree."""
        if self._depth >= MOST_DEPTH:
            raise DocumentError(_TOO_DEEP)
        self._depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """Return an integer; hexadecimal ones have no limit of Python's own."""
        if len(node.value) <= 4 * _DIGITS:  # in base 2 an integer has 3.3 times as many digits
            number: int = super().construct_yaml_int(node)
            if abs(number) < 10**_DIGITS:
                return number
        raise DocumentError(f"it has an integer of more than {_DIGITS} digits")


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)


def _expanded(node: yaml.Node, known: dict[int, tuple[int, int]]) -> tuple[int, int]:
    """Return how many values a node stands for, and how deep, with every alias written out.

    Args:
        node: Of a tree in which aliases are further ways to the nodes that they name.
        known: What it was of other nodes; (0, 0) of one that this node is in.
    """
    if id(node) in known:
        n, depth = known[id(node)]
        if not n:
            raise DocumentError("it has an alias of what the alias is in")
        return n, depth
    known[id(node)] = (0, 0)
    children: list[yaml.Node] = []
    if isinstance(node, yaml.MappingNode):
        children = [each for pair in node.value for each in pair]
    elif isinstance(node, yaml.SequenceNode):
        children = node.value
    measured = [_expanded(each, known) for each in children]
    n, depth = 1 + sum(m for m, _ in measured), 1 + max((d for _, d in measured), default=0)
    if n > MOST_YAML_VALUES:
        raise DocumentError(f"it stands for more than {MOST_YAML_VALUES} values, aliases included")
    if depth > MOST_DEPTH:
        raise DocumentError(_TOO_DEEP)
    known[id(node)] = (n, depth)
    return n, depth


def _integer(digits: str) -> int:
    if len(digits.removeprefix("-")) > _DIGITS:
        raise DocumentError(f"it has an integer of more than {_DIGITS} digits")
    return int(digits)


def _check_depth(content: Any) -> None:
    level = [content]
    for _ in range(MOST_DEPTH):
        level = [each for value in level for each in _values(value)]
        if not level:
            return
    raise DocumentError(_TOO_DEEP)


def _values(value: Any) -> list[Any]:
    values = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [each for each in values if isinstance(each, dict | list)]
