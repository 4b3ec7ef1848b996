"""What a look costs in the rewards that ``focusgym replay`` shows."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from focusgym.agents import PlusTraining, PPOConfig, read_penalty, read_policy, write_policy
from focusgym.agents.train import make_model, trained_penalty
from focusgym.feature_cache import FeatureCache
from focusgym.runs.configs.replay import ReplayConfig
from focusgym.runs.replays.episodes import Looker, decide, watch
from focusgym.runs.training.recipes import DIGITS
from focusgym.runs.verbs.replay import replay


@pytest.fixture(scope="module")
def run(tiny_run: tuple[Path, dict[str, Any]]) -> Path:
    return tiny_run[0]


def test_a_look_costs_what_it_did_in_training(run: Path, tmp_path: Path) -> None:
    """Eq. 10 by hand; the price is the bundle's, or said to be the default."""
    cache = FeatureCache.open(run / "cache")
    area, local_gmacs = cache.places.side_px**2, cache.local_gmacs
    rows, policy = np.array([99, 90]), read_policy(run / "policy_plus")
    per_px2 = "per pixel of the patch (λ)"
    for penalty, price, price_text in (
        ({"per_px2": 2e-5}, 2e-5 * area, f"2e-05 {per_px2}, as in its training"),
        ({"per_gmac": 3.0}, 3 * local_gmacs, "3 per GMAC of f_L, as in its training"),
        (None, 1e-6 * area, f"1e-06 {per_px2}, the default; its bundle has none"),
    ):
        bundle = tmp_path / price_text[:4]
        write_policy(bundle, policy, cache, penalty=penalty)
        assert read_penalty(bundle) == penalty
        looker = Looker.find(bundle, run / "cache", run / "classifier")
        assert str(looker.price) == price_text
        for episode in watch(looker, rows, decide(looker, rows), "confidence", 0):
            facts = episode.facts(cache.classes, [0])
            k = len(facts["alternatives"][0]) - 1
            for t, attended in enumerate(facts["attended"]):
                tried = facts["alternatives"][t]
                gained = tried[facts["options"][t]] - tried[k] - price
                r_skip = pytest.approx(gained if attended else 0.0, abs=1e-5)
                assert facts["skip_rewards"][t] == r_skip
                total = facts["location_rewards"][t] + facts["skip_rewards"][t]
                assert facts["rewards"][t] == pytest.approx(total, abs=1e-5)


def test_the_bundles_of_a_quickstart_have_their_price(run: Path, tmp_path: Path) -> None:
    """The recipe's; none without π′; and older bundles, which have no such entry, are read."""
    assert DIGITS.ppo_plus.plus is not None
    assert read_penalty(run / "policy_plus") == DIGITS.ppo_plus.plus.penalty
    assert read_penalty(run / "policy") is None
    old = shutil.copytree(run / "policy_plus", tmp_path / "old")
    content = json.loads((old / "bundle.json").read_text())
    del content["training"]
    (old / "bundle.json").write_text(json.dumps(content))
    assert read_penalty(old) is None
    assert read_policy(old).keep is not None


def test_a_price_that_was_adapted_is_the_last(run: Path) -> None:
    plus = PlusTraining(keep_ratio=None, target_gmacs=0.006, penalty={"per_px2": 1e-4})
    config = PPOConfig(epochs=1, n_envs=4, minibatch=4, conv_channels=2, hidden=4, plus=plus)
    model = make_model(run / "cache", run / "classifier", config, 0)
    area = model.players[0].cache.places.side_px ** 2
    assert trained_penalty(model) == {"per_px2": pytest.approx(1e-4)}
    for player in model.players:
        player.set_penalty(0.125)
    assert trained_penalty(model) == {"per_px2": 0.125 / area}


def test_the_page_is_told_the_price(run: Path, tmp_path: Path) -> None:
    config = ReplayConfig(tmp_path / "out", run / "policy_plus", videos=(99,), mp4=False)
    first, second = replay(config)["policies"]
    assert first["price"] == "1.28e-05 per pixel of the patch (λ), as in its training"
    assert second["price"] is None
