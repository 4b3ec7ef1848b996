"""A recognizer bundle."""

from __future__ import annotations

from pathlib import Path

import pytest
from recognizers import make_recognizer


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle of a recognizer with π′."""
    make_recognizer(skips=0.4).save(tmp_path / "bundle", "f" * 64, {"accuracy": 0.5})
    return tmp_path / "bundle"
