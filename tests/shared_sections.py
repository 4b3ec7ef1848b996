"""Command lines with presets, of which the sections that several presets share are parsed once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import pytest
import tyro

from focusgym.runs.options import presets

# What verbs cannot do without, which no preset gives.
NEEDED = {
    "cache plan": ("--videos", "v"),
    "cache build": ("--videos", "v"),
    "fit encoder": ("--videos", "v", "--network", "n", "--weights", "w"),
    "fit patches": ("--videos", "v", "--glance-encoder", "g", "--local-encoder", "l"),
    "fit classifier": ("--cache", "c"),
    "fit end-to-end": ("--videos", "v"),
    "fit cubes": ("--videos", "v"),
    "fit afnet": ("--videos", "v"),
}

_read_once = cache(presets.read_yaml)
_parse_words = tyro.cli
_of_words: dict[tuple[str, ...], Any] = {}


def _parse_once(kind: Any, *, args: list[str], **how: Any) -> Any:
    at = args.index("--preset")
    words = (*args[:at], *args[at + 2 :])
    if words not in _of_words:
        _of_words[words] = _parse_words(kind, args=args, **how)
    return _of_words[words]


@contextmanager
def shared_sections() -> Iterator[None]:
    """Let each preset be read once, and the same words behind a command be parsed once.

    So ``preset`` of a config may name another one whose section says the same.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(presets, "read_yaml", _read_once)
        patch.setattr(tyro, "cli", _parse_once)
        yield
