"""Videos with lists, for the tests of the verb ``cache``."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

from focusgym.feature_cache import DigitsConfig, make_digits


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Digits with lists in three formats."""
    root = tmp_path_factory.mktemp("made") / "data"
    table = make_digits(DigitsConfig(n_train=20, n_val=4, n_test=4, n_frames=6), root)
    for split, rows in table.groupby("split"):
        lines = [f"{path} 6 {i % 2}" for i, path in enumerate(rows["path"])]
        (root / f"{split}.txt").write_text("\n".join(lines))
        pd.DataFrame({"path": rows["path"], "label": [i % 2 for i in range(len(rows))]}).to_csv(
            root / f"{split}.csv", index=False
        )
    return root


@pytest.fixture
def data(made: Path, tmp_path: Path) -> Path:
    """A copy of them, which a test may change."""
    return shutil.copytree(made, tmp_path / "data")
