"""Names that tell two policies apart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from .box_episodes import BoxLooker
from .episodes import Looker
from .gate_episodes import GateLooker

_Named = TypeVar("_Named", Looker, BoxLooker, GateLooker)


def told_apart(pair: tuple[_Named, _Named], paths: tuple[Path, Path]) -> tuple[_Named, _Named]:
    """Return two policies, called by their folders besides where their names are the same."""
    if pair[0].name != pair[1].name:
        return pair
    one, two = (
        replace(each, name=f"{each.name} ({folder})")
        for each, folder in zip(pair, _apart(*paths), strict=True)
    )
    return one, two


def _apart(first: Path, second: Path) -> tuple[str, str]:
    """Return the ends of two paths, as short as they are not the same."""
    one, two = first.resolve().parts, second.resolve().parts
    for n in range(1, max(len(one), len(two))):
        ends = "/".join(one[-n:]), "/".join(two[-n:])
        if ends[0] != ends[1]:
            return ends
    return one[-1], f"{two[-1]}, again"
