"""A cache and a literal reading of the papers beside it."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import Literal


@pytest.fixture(params=["gru", "average"])
def literal(tmp_path: Path, request: pytest.FixtureRequest) -> Literal:
    return Literal(tmp_path, seed=7, aggregation=request.param)
