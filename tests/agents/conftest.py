"""What the agents' tests play on."""

from __future__ import annotations

from pathlib import Path

import pytest

from focusgym.feature_cache import FeatureCache


@pytest.fixture
def files(cache: FeatureCache, classifier_path: Path) -> dict[str, str]:
    """Keywords of an environment on the synthetic cache."""
    return {"cache": str(cache.root), "classifier": str(classifier_path)}
