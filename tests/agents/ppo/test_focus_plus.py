"""π and π′ in one training: when π′ joins, and that neither feels the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from focus_models import N_ENVS, ROLLOUT, STEADY, Files, flat, make_model
from hypothesis import given
from hypothesis import strategies as st
from reference_ppo import Spy
from stable_baselines3.common.callbacks import BaseCallback
from support import Literal, T
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

MINIBATCHES = {"n_epochs": 2, "batch_size": 2 * T, "learning_rate": 1e-2}
ONE_BATCH = {"n_epochs": 1, "learning_rate": 1e-2}
both_paths = pytest.mark.parametrize(
    "keywords", [MINIBATCHES, ONE_BATCH], ids=["minibatches", "whole"]
)


class Weights(BaseCallback):
    """Keeps the weights of each learner before each rollout."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[str, list[torch.Tensor]] = {"location": [], "keep": []}

    def _on_rollout_start(self) -> None:
        for name, learner in self.model.policy.learners.items():
            self.seen[name].append(flat(learner))

    def _on_step(self) -> bool:
        return True


@both_paths
def test_before_pi_prime_joins_it_is_adafocus(files: Files, keywords: dict[str, Any]) -> None:
    """Six rollouts, π′ joins after half: b = 1, its weights untouched, π's path the same.

    Rewards are computed in another shape, so π's weights agree to rounding.
    """
    plus = make_model("both", files, keep_from=0.5, policy_kwargs=STEADY, **keywords)
    plain = make_model("pi", files, policy_kwargs=STEADY, **keywords)
    keep = plus.policy.learners["keep"]
    spies, weights = (Spy(), Spy()), (Weights(), Weights())
    for model, spy, seen in zip((plus, plain), spies, weights, strict=True):
        model.learn(6 * ROLLOUT, callback=[spy, seen])
    for i, (with_keep, expected) in enumerate(zip(spies[0].played, spies[1].played, strict=True)):
        joined = i >= 3
        assert set(with_keep.rollout.tracks) == ({"location", "keep"} if joined else {"location"})
        if not joined:
            assert np.array_equal(with_keep.taken[..., 0], expected.taken)
            assert (with_keep.taken[..., 1] == 1).all()
            rewards = [[info["reward_location"] for info in step] for step in with_keep.infos]
            np.testing.assert_allclose(rewards, np.stack(expected.rewards), rtol=0, atol=1e-6)
            for update in with_keep.updates:
                assert not any(name.startswith("learners.keep") for name in update.gradients)
        else:
            assert all(
                "learners.keep.actor.bias" in update.gradients for update in with_keep.updates
            )
    of_plus, of_plain = weights[0].seen, weights[1].seen
    moved = float((of_plain["location"][3] - of_plain["location"][0]).abs().max())
    for i in range(4):
        with_keep, expected = of_plus["location"][i], of_plain["location"][i]
        torch.testing.assert_close(with_keep, expected, rtol=0, atol=1e-3 * moved)
        assert torch.equal(of_plus["keep"][i], of_plus["keep"][0])
    assert (np.stack([p.taken[..., 1] for p in spies[0].played[3:]]) == 0).any()
    for i in (4, 5):
        assert not torch.equal(of_plus["keep"][i], of_plus["keep"][i - 1])
    # π′'s Adam counts from its own first step.
    per_rollout = len(spies[0].played[-1].updates)
    state = plus.policy.optimizer.state
    assert {int(state[p]["step"]) for p in keep.parameters()} == {3 * per_rollout}
    location = plus.policy.learners["location"]
    assert {int(state[p]["step"]) for p in location.parameters()} == {6 * per_rollout}


def test_until_it_joins_pi_prime_has_no_optimizer_state(files: Files) -> None:
    model = make_model("both", files, keep_from=0.9)
    model.learn(3 * ROLLOUT)
    state, (location, keep) = model.policy.optimizer.state, model.policy.learners.values()
    assert not any(p in state for p in keep.parameters())
    assert all(p in state for p in location.parameters())


@pytest.mark.parametrize(("keep_from", "first"), [(0.0, 0), (0.2, 1), (0.21, 2), (0.8, 4)])
def test_pi_prime_joins_after_a_share_of_each_training(
    files: Files, keep_from: float, first: int
) -> None:
    model = make_model("both", files, keep_from=keep_from)
    for _ in range(2):  # the second training counts by itself
        spy = Spy()
        model.learn(5 * ROLLOUT, callback=spy)
        joined = ["keep" in played.rollout.tracks for played in spy.played]
        assert joined == [i >= first for i in range(5)]
    spy = Spy()
    model.learn(5 * ROLLOUT, callback=spy, reset_num_timesteps=False)  # to ten in all
    joined = ["keep" in played.rollout.tracks for played in spy.played]
    assert joined == [i >= keep_from * 10 for i in range(5, 10)]


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return make_model("both", Literal(tmp_path_factory.mktemp("untrained")).files)


@given(rollouts=st.sampled_from([5, 8, 10, 20, 25, 40, 50, 100, 125, 200]), data=st.data())
def test_a_share_of_rollouts_is_meant_exactly(untrained: Any, rollouts: int, data: Any) -> None:
    """With keep_from = k/n as one writes it, π′ takes part in the rollouts k, ..., n - 1."""
    k = data.draw(st.integers(0, rollouts - 1))
    untrained.keep_from = float(f"{k / rollouts:.6g}")
    untrained._total_timesteps = rollouts * ROLLOUT
    joined = []
    for i in (k - 1, k):
        untrained.num_timesteps = i * ROLLOUT
        joined.append("keep" in untrained._learning())
    assert joined == [False, True]


def test_neither_gradient_depends_on_the_other_network(files: Files) -> None:
    """One rollout, trained on twice: from its weights, and with the other network disturbed."""
    model = make_model("both", files, n_epochs=2, learning_rate=0.0, max_grad_norm=0.1)
    model.learn(ROLLOUT)

    def gradients(disturbed: str | None) -> dict[str, torch.Tensor]:
        if disturbed is not None:
            with torch.no_grad():
                for parameter in model.policy.learners[disturbed].parameters():
                    parameter.mul_(1.5)
        model.train()
        return {
            name: torch.cat([p.grad.flatten() for p in learner.parameters()])
            for name, learner in model.policy.learners.items()
        }

    first = gradients(None)
    for name, other in (("keep", "location"), ("location", "keep")):
        model = make_model("both", files, n_epochs=2, learning_rate=0.0, max_grad_norm=0.1)
        model.learn(ROLLOUT)
        second = gradients(other)
        assert torch.equal(second[name], first[name])
        assert not torch.equal(second[other], first[other])


def test_pi_prime_learns_from_eq_10_and_pi_from_eq_7(files: Files) -> None:
    """Swapping what each is paid swaps nothing else: rewards are told apart by name."""
    model = make_model("both", files, learning_rate=0.0, n_epochs=2, gamma=0.0, gae_lambda=1.0)
    spy = Spy()
    model.learn(ROLLOUT, callback=spy)
    (played,) = spy.played
    for learner, key in (("location", "reward_location"), ("keep", "reward_skip")):
        rewards = np.array([[info[key] for info in step] for step in played.infos]).T
        track = played.rollout.tracks[learner]
        np.testing.assert_allclose(track.returns, rewards, rtol=0, atol=1e-6)
    skipped = played.taken[..., 1] == 0
    assert 0 < skipped.sum() < skipped.size
    keep = played.rollout.tracks["keep"]
    assert keep.returns.numpy()[skipped] == pytest.approx(0.0, abs=1e-6), "Eq. 10: b = 0"
    penalty = model.players[0].prices.penalty
    assert penalty == pytest.approx(4e-5 * 12**2)
    assert model.mean_returns == [pytest.approx(np.stack(played.rewards).sum(0).mean())]
    assert len(played.rewards) == T
    assert played.rewards[0].shape == (N_ENVS,)


def test_tensorboard_is_told_of_both_networks(files: Files, tmp_path: Path) -> None:
    model = make_model("both", files, tensorboard_log=str(tmp_path))
    model.learn(3 * ROLLOUT, tb_log_name="run")
    events = EventAccumulator(str(tmp_path / "run_1"))
    events.Reload()
    tags = {"train/entropy_loss", "train_keep/entropy_loss", "keep/share", "options/used"}
    assert tags <= set(events.Tags()["scalars"])
    assert [event.step for event in events.Scalars("keep/share")] == [20, 40, 60]
