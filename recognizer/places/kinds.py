"""How places may be chosen without looking; imports nothing heavy."""

from __future__ import annotations

from typing import Literal, get_args

FixedKind = Literal["random", "central", "gaussian"]
FIXED_KINDS: tuple[FixedKind, ...] = get_args(FixedKind)
