"""What a look costs in the rewards that ``focusgym replay`` shows."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from focusgym.feature_cache import FeatureCache
from focusgym.runs.configs.replay import ReplayConfig
from focusgym.runs.replay import replay


@pytest.fixture(scope="module")
def run(tiny_run: tuple[Path, dict[str, Any]]) -> Path:
    return tiny_run[0]


def as_run(root: Path, bundle: Path, run: Path, **settings: object) -> Path:
    """Write a folder as `focusgym train` leaves it, with a policy from elsewhere."""
    shutil.copytree(bundle, root / "policy")
    said = {"cache": str(run / "cache"), "classifier": str(run / "classifier"), **settings}
    (root / "config.yaml").write_text(yaml.safe_dump({"train": said}))
    for name in ("run.json", "results.json"):
        (root / name).write_text("{}")
    return root


def test_a_look_costs_what_it_did_in_training(run: Path, tmp_path: Path) -> None:
    """Eq. 10 by hand; the price is the run's, the one it came to, or said to be the default."""
    cache = FeatureCache.open(run / "cache")
    area, local_gmacs = cache.grid.patch_px**2, cache.local_gmacs
    bundle = run / "policy_plus"
    prices = {
        "px": ({"penalty-per-px2": 2e-5, "penalty-per-gmac": None}, 2e-5 * area, "2e-05 per pixel"),
        "gmac": ({"penalty-per-gmac": 3.0}, 3 * local_gmacs, "3 per GMAC of f_L (as in its"),
        "null": ({"penalty-per-px2": None}, 1e-6 * area, "(as in its training)"),
        "target": ({"penalty-per-px2": 1e-6, "target-gmacs": 1.0}, 0.125, "came in the end"),
    }
    for name, (settings, penalty, said) in prices.items():
        policy = as_run(tmp_path / name, bundle, run, **settings)
        for i, logged in enumerate(("0.5", "0.25", "0.125")[: 3 if name == "target" else 0], 9):
            (policy / "logs" / str(i)).mkdir(parents=True)
            text = f"keep/penalty,other\n7,1\n{logged},1\n,2\n"
            (policy / "logs" / str(i) / "progress.csv").write_text(text)
        result = replay(ReplayConfig(tmp_path / f"{name}_out", policy, videos=(99, 90), mp4=False))
        assert said in result["policies"][0]["price"]
        assert result["policies"][1]["price"] is None
        for video in result["videos"]:
            found = video["episodes"][0]
            k = len(found["alternatives"][0]) - 1
            for t, looked in enumerate(found["looked"]):
                tried = found["alternatives"][t]
                gained = tried[found["options"][t]] - tried[k] - penalty
                r_skip = pytest.approx(gained if looked else 0.0, abs=1e-5)
                assert found["skip_rewards"][t] == r_skip
                total = found["location_rewards"][t] + found["skip_rewards"][t]
                assert found["rewards"][t] == pytest.approx(total, abs=1e-5)
    alone = replay(ReplayConfig(tmp_path / "bare", bundle, videos=(99,), mp4=False))
    assert alone["policies"][0]["price"].startswith("1e-06 per pixel of the patch (the default, ")
