"""The pages of one replay, for all tests of pages."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from browser import Browser
from replay_pages import NASTY, ROWS

from focusgym.runs.configs.replay import ReplayConfig
from focusgym.runs.verbs.replay import replay


@pytest.fixture(scope="session")
def shown(
    tiny_run: tuple[Path, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    """π′ beside π; the name of the second video is one to break a page with."""
    run, root = tiny_run[0], tmp_path_factory.mktemp("pages")
    shutil.copytree(run / "cache", root / "cache")
    table = pd.read_csv(root / "cache" / "videos.csv")
    table.loc[90, "name"] = NASTY
    table.to_csv(root / "cache" / "videos.csv", index=False)
    config = ReplayConfig(
        root / "out",
        run / "policy_plus",
        run / "policy",
        root / "cache",
        run / "classifier",
        videos=ROWS,
        boxes=run / "data" / "boxes.csv",
    )
    return root / "out", replay(config)


@pytest.fixture
def page(browser: Browser, shown: tuple[Path, dict[str, Any]]) -> Browser:
    browser.open(shown[0] / "index.html")
    return browser
