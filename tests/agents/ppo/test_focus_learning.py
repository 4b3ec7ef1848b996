"""What FocusPPO learns where the best policy is known; options that are not allowed; its draws."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from focus_models import IDS, N_ENVS, ROLLOUT, Files, flat, informative_files, make_env, make_model
from reference_ppo import Spy
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import KVWriter, Logger
from support import Literal, T

from focusgym.agents import (
    FocusPPO,
    keep_probabilities,
    keep_threshold,
    policy_plan,
    read_policy,
)
from focusgym.agents.ppo.dual import DualAscent
from focusgym.feature_cache import FeatureCache
from focusgym.recognizer import write_bundle

every_kind = pytest.mark.parametrize("kind", IDS)
LEARNING = {"learning_rate": 5e-3, "policy_kwargs": {"conv_channels": 8, "hidden": 32}}


class History(KVWriter):
    """Keeps a log, a value per dump."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def write(self, key_values: dict[str, Any], key_excluded: Any, step: int = 0) -> None:
        self.rows.append(dict(key_values))

    def __getitem__(self, name: str) -> list[Any]:
        return [row[name] for row in self.rows if name in row]


def history_of(model: FocusPPO) -> History:
    history = History()
    model.set_logger(Logger(None, [history]))
    return history


def test_both_learn_where_and_whether_to_look(tmp_path: Path) -> None:
    """Half of the frames show the label, in one place: look there, and nowhere else."""
    files, target = informative_files(tmp_path)
    env = make_env("both", files, 30, penalty={"per_px2": 1e-4})
    model = make_model("both", files, env, batch_size=15 * T, keep_from=0.3, seed=1, **LEARNING)
    model.learn(50 * 30 * T)
    cache = FeatureCache.open(files["cache"])
    test = cache.split("test")
    with torch.no_grad():
        options, looks = model.network().choose(cache.stored_glance_maps(test))
    shown = target[test] >= 0
    assert (options == target[test])[shown].float().mean() > 0.8
    assert (looks == shown).float().mean() > 0.8
    assert np.mean(model.mean_returns[-10:]) > np.mean(model.mean_returns[:10]) + 0.3


@pytest.mark.parametrize(("share", "price"), [(0.25, 1e-3), (0.75, 2e-3)])
def test_a_target_is_met(tmp_path: Path, share: float, price: float) -> None:
    """The price moves towards the target from either side; ρ then meets it to a frame.

    Where the price comes to in a short training is luck; that ρ meets the target is not.
    """
    files, _ = informative_files(tmp_path, graded=True)
    env = make_env("both", files, 30, penalty={"per_px2": price})
    prices = env.player.prices
    target = T * (prices.frame_gmacs + share * prices.cost.local_gmacs)
    model = make_model(
        "both", files, env, batch_size=15 * T, target_gmacs=target, penalty_rate=0.03,
        ent_coef=0.02, **LEARNING,
    )  # fmt: skip
    history = history_of(model)
    model.learn(16 * 30 * T)
    prices_seen = history["keep/penalty"]  # at first half of the frames are looked at
    assert prices_seen[5] > prices_seen[0] if share < 0.5 else prices_seen[5] < prices_seen[0]
    assert model.target_share == pytest.approx(share)
    cache = FeatureCache.open(files["cache"])
    train = cache.split("train")
    rho = keep_threshold(model.network(), cache, train, share)
    policy = model.network(rho)
    attended = policy_plan(policy, cache, train).attended
    first = np.zeros(len(train), dtype=int)
    cost = sum(prices.of_segment(first, looks).mean() for looks in attended.T)
    assert cost == pytest.approx(target, abs=prices.cost.local_gmacs / len(train))


def test_the_price_moves_as_it_should(files: Files) -> None:
    """λ ← max(0, λ + rate·remaining·(mean p^B - share)), from the infos and the weights alone."""
    env = make_env("both", files, penalty={"per_px2": 1e-3})
    prices = env.player.prices
    target = T * (prices.frame_gmacs + 0.4 * prices.cost.local_gmacs)
    model = make_model("both", files, env, target_gmacs=target, penalty_rate=0.3, keep_from=0.25)
    history = history_of(model)
    charged: list[float] = []
    expected = [1e-3 * 12**2]

    class Price(BaseCallback):
        def _on_rollout_start(self) -> None:
            charged.append(self.model.players[0].prices.penalty)

        def _on_step(self) -> bool:
            return True

        def _on_rollout_end(self) -> None:
            rollout = len(charged)
            if rollout <= 2:  # of eight: π′ has not joined
                expected.append(expected[-1])
                return
            cache = self.model.players[0].cache
            videos = self.model.rollout_buffer.videos
            mean = keep_probabilities(self.model.network(), cache, videos).mean()
            change = 0.3 * (1 - rollout / 8) * (mean - 0.4)
            expected.append(max(0.0, expected[-1] + change))

    model.learn(8 * ROLLOUT, callback=Price())
    assert charged == pytest.approx(expected[:-1], abs=1e-6)
    assert history["keep/penalty"] == pytest.approx(charged[2:], abs=1e-6)
    assert len({round(price, 9) for price in charged}) > 4


@pytest.mark.parametrize(
    ("penalty", "probability", "remaining", "expected"),
    [
        (0.1, 0.75, 1.0, 0.15),
        (0.1, 0.5, 1.0, 0.1),
        (0.1, 0.25, 1.0, 0.05),
        (0.1, 0.25, 0.5, 0.075),
        (0.1, 0.75, 0.0, 0.1),
        (0.01, 0.25, 1.0, 0.0),
        (0.0, 0.0, 1.0, 0.0),
    ],
)
def test_a_step_of_the_price(
    penalty: float, probability: float, remaining: float, expected: float
) -> None:
    new_penalty = DualAscent(share=0.5, rate=0.2).step(penalty, probability, remaining)
    assert new_penalty == pytest.approx(expected)


def test_the_share_of_a_target(files: Files) -> None:
    player = make_env("both", files, policy_gmacs=0.125).player
    price = player.prices
    for share in (0.1, 0.5, 0.9):
        looks = np.arange(100) < share * 100
        cost = T * float(price.of_segment(np.zeros(100, dtype=int), looks).mean())
        assert DualAscent.to_target(cost, player, 0.1).share == pytest.approx(share)


@every_kind
def test_options_that_are_not_allowed_are_never_chosen(tmp_path: Path, kind: str) -> None:
    files = Literal(tmp_path / "literal").files
    allowed = [8, 0, 5]
    model = make_model(kind, files, config={"options_allowed": allowed}, learning_rate=1e-2)
    actor = model.policy.learners["location"].actor
    with torch.no_grad():
        actor.bias[4] += 50  # what is forbidden would be preferred
    before = copy.deepcopy(actor.state_dict())
    history, spy = history_of(model), Spy()
    model.learn(6 * ROLLOUT, callback=spy)
    drawn = np.stack([played.taken for played in spy.played])
    drawn = drawn[..., 0] if kind == "both" else drawn
    assert set(np.unique(drawn)) == set(allowed)
    forbidden = [1, 2, 3, 4, 6, 7]
    for name, weights in actor.state_dict().items():
        assert torch.equal(weights[forbidden], before[name][forbidden]), "no gradient"
        assert not torch.equal(weights[allowed], before[name][allowed])
    entropies = history["train/entropy_loss"]
    assert len(entropies) == 5
    assert np.isfinite(entropies).all()
    assert (np.array(entropies) >= -np.log(3) - 1e-6).all()
    assert model.logger.name_to_value["train/approx_kl"] < 1

    cache = FeatureCache.open(files["cache"])
    videos = np.arange(cache.n_videos)
    model.save(tmp_path / "model")
    network = model.network()
    write_bundle(tmp_path / "policy", "policy", network.config, network, cache.fingerprint)
    again = FocusPPO.load(tmp_path / "model", device="cpu")
    for each in (network, again.network(), read_policy(tmp_path / "policy", cache.fingerprint)):
        with torch.no_grad():
            p = each(cache.glance_maps(videos)).softmax(-1)
        assert (p[..., forbidden] == 0).all()
        assert set(each.choose(cache.glance_maps(videos))[0].unique().tolist()) <= set(allowed)
    observation = {"video": np.arange(2000)[:, None] % 10, "t": np.full((2000, 1), 1)}
    for each in (model, again):
        for deterministic in (True, False):
            actions, _ = each.predict(observation, deterministic=deterministic)
            assert set(np.unique(actions.reshape(2000, -1)[:, 0])) <= set(allowed)


class Noise(BaseCallback):
    """User code that draws from the global generators whenever it can."""

    def _draw(self) -> bool:
        np.random.random(7)  # noqa: NPY002
        torch.rand(7)
        return True

    _on_training_start = _on_rollout_start = _on_rollout_end = _draw  # type: ignore[assignment]
    _on_step = _draw


@every_kind
def test_nothing_that_others_draw_changes_the_training(files: Files, kind: str) -> None:
    keywords = {"n_epochs": 2, "batch_size": 2 * T, "learning_rate": 1e-2}
    quiet, noisy, another = (make_model(kind, files, seed=seed, **keywords) for seed in (5, 5, 6))
    first = flat(quiet.policy)
    assert torch.equal(first, flat(noisy.policy))
    assert not torch.equal(first, flat(another.policy))
    quiet.learn(3 * ROLLOUT)
    noisy.learn(3 * ROLLOUT, callback=Noise())
    another.learn(3 * ROLLOUT)
    assert torch.equal(flat(quiet.policy), flat(noisy.policy))
    assert quiet.mean_returns == noisy.mean_returns != another.mean_returns


def test_without_a_seed_trainings_differ(files: Files) -> None:
    models = [make_model("pi", files, seed=None) for _ in range(2)]
    assert models[0].draw_seed != models[1].draw_seed
    models[1].policy.load_state_dict(models[0].policy.state_dict())
    spies = Spy(), Spy()
    for model, spy in zip(models, spies, strict=True):
        model.learn(ROLLOUT, callback=spy)
    assert not np.array_equal(spies[0].played[0].taken, spies[1].played[0].taken)
    assert np.array_equal(spies[0].played[0].rollout.videos, spies[1].played[0].rollout.videos)


def test_draws_of_rollouts_and_learners_are_their_own(files: Files) -> None:
    """Even policies, whose actions are their uniforms: none is used twice."""
    model = make_model("both", files, learning_rate=0.0)
    with torch.no_grad():
        for learner in model.policy.learners.values():
            learner.actor.weight.zero_()
            learner.actor.bias.zero_()
    spy = Spy()
    model.learn(24 * ROLLOUT, callback=spy)
    taken = np.stack([played.taken for played in spy.played])  # (24, N, T, 2)
    location, keep = taken[..., 0].reshape(24, -1), taken[..., 1].reshape(24, -1)
    assert len(np.unique(location, axis=0)) == len(np.unique(keep, axis=0)) == 24
    assert np.bincount(location.ravel(), minlength=9) == pytest.approx(
        np.full(9, 24 * N_ENVS * T / 9), abs=5 * (24 * N_ENVS * T / 9) ** 0.5
    )
    # The same uniforms for both would tie small options to skips.
    correlation = np.corrcoef(location.ravel(), keep.ravel())[0, 1]
    assert abs(correlation) < 5 / (24 * N_ENVS * T) ** 0.5
