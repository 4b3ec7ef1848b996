"""One tiny quickstart for all tests of the verbs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from focusgym.feature_cache import DigitsConfig
from focusgym.runs.config import QuickstartConfig
from focusgym.runs.quickstart import quickstart
from focusgym.runs.recipes import DIGITS, Recipe, adamw


@pytest.fixture(scope="session")
def tiny() -> Recipe:
    """The recipe for digits with few videos and little training."""
    return replace(
        DIGITS,
        digits=DigitsConfig(n_train=40, n_val=10, n_test=20),
        full_frames=adamw(1, 16, encoder=5e-3),
        stage_one=adamw(25, 8, local=1e-2, classifier=1e-2),  # enough for predictions that differ
        classifier=adamw(2, 16, classifier=1e-3),
        ppo=replace(DIGITS.ppo, epochs=4, n_envs=16, minibatch=8),
        ppo_plus=replace(DIGITS.ppo_plus, epochs=4, n_envs=16, minibatch=8),
        finetune=adamw(1, 16, classifier=5e-4),
    )


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory, tiny: Recipe) -> tuple[Path, dict[str, Any]]:
    """A finished quickstart: its folder, which is ``outputs/quickstart`` of a root, and results."""
    out = tmp_path_factory.mktemp("root") / "outputs" / "quickstart"
    return out, quickstart(QuickstartConfig(out=out), tiny)
