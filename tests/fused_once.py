"""Encoders of caches that do not change are read and fused once for a whole test module."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from focusgym.feature_cache import FeatureCache
from focusgym.recognizer import Encoder


@contextmanager
def fused_once() -> Iterator[None]:
    """Let each cache, by its folder and its groups, give the same encoders whenever it is asked."""
    real = FeatureCache.fused_encoders
    encoders: dict[Any, dict[str, Encoder]] = {}

    def fused(self: FeatureCache) -> dict[str, Encoder]:
        key = self.fingerprint, str(self.root), *(each.group.name for each in self.opened)
        if key not in encoders:
            encoders[key] = real(self)
        return encoders[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FeatureCache, "fused_encoders", fused)
        yield
