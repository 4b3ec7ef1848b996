"""Rewards of whole episodes against Eq. 7, 9 and 10 taken literally on the files' features."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import GRID, C, Literal, N, T
from torch import Tensor

from focusgym.envs import (
    Confidences,
    Episodes,
    FocusEnv,
    FocusVectorEnv,
    increment_over_random,
    increments,
    make_design,
    padding,
    skip_gain,
)
from focusgym.envs.rewards.checks import check_design

K = GRID**2
P_PX, LOCAL_GMACS = 12, 1.5  # of `write_cache`
PlusEnv = partial(FocusEnv, task="AdaFocusPlus")
KINDS = {
    "where": (FocusEnv, {}),
    "pairs": (PlusEnv, {"action_set": "pairs"}),
    "flat": (PlusEnv, {"action_set": "flat"}),
}


@dataclass(frozen=True)
class Shortfall:
    """A design of the user's own: below the best of two random options, and over skip."""

    weight: float = 1.0
    draws = 2
    compares_skip = True

    def __call__(self, p: Confidences) -> Tensor:
        return p.chosen - self.weight * p.random.amax(dim=1) - p.skip


@dataclass(frozen=True)
class Returns:
    """A wrong design: it returns what it was given."""

    rewards: Any
    draws = 0
    compares_skip = False

    def __call__(self, p: Confidences) -> Tensor:
        return torch.tensor(self.rewards)


class Incomplete:
    draws = 0


def total(p: Confidences) -> Tensor:
    """A design that is a function: what is sure, less what was spent."""
    return p.chosen - 0.01 * p.gmacs.float()


total.draws, total.compares_skip = 0, False


class AfterOne:
    """Fails where there is a decision before."""

    draws = 0
    compares_skip = False

    def __call__(self, p: Confidences) -> Tensor:
        return torch.where(p.gmacs < 2, p.chosen, torch.nan)  # 1.8 GMACs a look


class InPlace:
    draws = 0
    compares_skip = False

    def __call__(self, p: Confidences) -> Tensor:
        change = p.chosen.sub_(p.previous)
        p.previous.zero_()
        p.logits.zero_()
        return change


REWARDS = {
    "one draw": "increment_over_random",
    "three draws": {"name": "increment_over_random", "draws": 3},
    "exact": {"name": "increment_over_random", "draws": None},
    "confidence": "confidence",
    "increments": "increments",
    "padding": "padding",
    "own": {"name": f"{__name__}:Shortfall", "weight": 0.5},
}
N_DRAWS = {"one draw": 1, "three draws": 3, "own": 2}


def literal_location(design: str, chosen: float, before: float, skip: float, random: Any) -> float:
    """Return r_t: Eq. 7 and Table 5, and the design above."""
    if design in ("one draw", "three draws", "exact"):
        return chosen - sum(random) / len(random)
    if design == "own":
        return chosen - 0.5 * max(random) - skip
    return chosen - {"confidence": 0.0, "increments": before, "padding": skip}[design]


def drawn_options(design: str, video: int, seed: int, allowed: list[int]) -> list[list[int]]:
    """Return the random options of each step of a seed's first episode."""
    if design == "exact":
        return [allowed] * T
    k = N_DRAWS.get(design, 0)
    episodes = Episodes(np.arange(N), k, T, np.array(allowed), np.array([0]), 1, seed)
    episodes.advance(np.array([True]))
    assert episodes.videos[0] == video
    return [episodes.draws(np.array([t]))[0].tolist() for t in range(T)]


def action_of(kind: str, option: int, b: int) -> Any:
    if kind == "pairs":
        return np.array([option, b])
    return np.int64(option if kind == "where" or b else K)


several_labels = st.lists(st.integers(0, C - 1), min_size=1, max_size=C, unique=True)
decisions = st.lists(st.tuples(st.integers(0, 99), st.integers(0, 1)), min_size=T, max_size=T)
some_options = st.lists(st.integers(0, K - 1), min_size=1, unique=True).map(sorted)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("design", REWARDS)
@settings(max_examples=4, deadline=None)
@given(
    seed=st.integers(0, 999),
    all_labels=st.lists(several_labels, min_size=N, max_size=N),
    labels=st.sampled_from(["first", "mean"]),
    aggregation=st.sampled_from(["gru", "average"]),
    reuse_glance=st.booleans(),
    chosen=decisions,
    allowed=st.none() | some_options,
    penalty=st.sampled_from([{"per_px2": 1e-6}, {"per_px2": 3e-3}, {"per_gmac": 0.02}]),
)
def test_every_reward_of_an_episode_is_the_literal_one(
    tmp_path_factory: pytest.TempPathFactory,
    kind: str,
    design: str,
    seed: int,
    all_labels: list[list[int]],
    labels: str,
    aggregation: str,
    reuse_glance: bool,
    chosen: list[tuple[int, int]],
    allowed: list[int] | None,
    penalty: dict[str, float],
) -> None:
    folder = tmp_path_factory.mktemp("literal")
    config = {"aggregation": aggregation, "reuse_glance": reuse_glance}
    literal = Literal(folder, seed=seed, all_labels=all_labels, **config)
    options = list(range(K)) if allowed is None else allowed
    looks = [(options[i % len(options)], 1 if kind == "where" else b) for i, b in chosen]
    env_class, keywords = KINDS[kind]
    if kind != "where":
        keywords = {**keywords, "penalty": penalty}
    price = penalty.get("per_px2", 0) * P_PX**2 + penalty.get("per_gmac", 0) * LOCAL_GMACS
    env = env_class(
        **literal.files,
        **keywords,
        split=None,
        reward=REWARDS[design],
        labels=labels,
        options_allowed=allowed,
    )
    env.reset(seed=seed + 1)
    env.step(action_of(kind, options[0], 1))  # an episode that is broken off leaves nothing behind
    _, info = env.reset(seed=seed)
    video, before, total = info["video_id"], 0.0, 0.0
    random = drawn_options(design, video, seed, options)
    for t, (option, b) in enumerate(looks):
        history = looks[:t]
        look, skip, *others = (
            literal.confidence(video, [*history, last], labels)
            for last in [(option, 1), (0, 0), *((k, 1) for k in random[t])]
        )
        realised = look if b else skip
        r = literal_location(design, realised if kind == "flat" else look, before, skip, others)
        r_skip = look - skip - price if b else 0.0
        _, reward, done, _, info = env.step(action_of(kind, option, b))
        expected = r if kind == "where" else r + r_skip
        assert reward == pytest.approx(expected, abs=2e-6)
        assert info["confidence"] == pytest.approx(realised, abs=1e-6)
        if kind != "where":
            assert info["reward_location"] == pytest.approx(r, abs=2e-6)
            assert info["reward_skip"] == pytest.approx(r_skip, abs=2e-6)
            assert info["attended"] == bool(b)
        before, total = realised, total + expected
    assert done
    assert info["episode_return"] == pytest.approx(total, abs=1e-5)


def test_the_equations_by_hand() -> None:
    chosen = torch.tensor([0.9, 0.2])
    random = torch.tensor([[0.5, 0.7], [0.2, 0.4]])
    close = torch.testing.assert_close
    close(increment_over_random(chosen, random), torch.tensor([0.3, -0.1]))
    close(increment_over_random(chosen, random[:, :1]), torch.tensor([0.4, 0.0]))
    close(increments(chosen, torch.tensor([0.0, 0.5])), torch.tensor([0.9, -0.3]))
    close(padding(chosen, torch.tensor([0.3, 0.1])), torch.tensor([0.6, 0.1]))
    skip, attended = torch.tensor([0.3, 0.1]), torch.tensor([True, False])
    close(skip_gain(chosen, skip, attended, 0.25), torch.tensor([0.35, 0.0]))
    # λP² of the paper's patch sizes at λ = 1e-6 (facts.md, A6).
    for side_px, price in ((96, 0.00922), (128, 0.01638), (160, 0.02560), (192, 0.03686)):
        gain = skip_gain(chosen, chosen, torch.tensor([True, True]), 1e-6 * side_px**2)
        close(gain, torch.tensor([-price, -price]), rtol=0, atol=5e-6)


@settings(max_examples=10, deadline=None)
@given(
    seed=st.integers(0, 999),
    history=st.lists(st.integers(0, K - 1), min_size=T - 1, max_size=T - 1),
    allowed=st.none() | some_options,
)
def test_the_uniform_policy_expects_no_reward_at_any_step(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    history: list[int],
    allowed: list[int] | None,
) -> None:
    literal = Literal(tmp_path_factory.mktemp("literal"), seed=seed)
    options = list(range(K)) if allowed is None else allowed
    env = FocusVectorEnv(
        len(options), **literal.files, reward=REWARDS["exact"], options_allowed=allowed
    )
    for t in range(T):
        env.reset(options={"video": seed % N})
        for k in history[:t]:
            env.step(np.full(len(options), options[k % len(options)]))
        rewards = env.step(np.array(options))[1]
        assert rewards.sum() == pytest.approx(0, abs=1e-5)
        assert len(options) == 1 or np.abs(rewards).max() > 1e-4, "the choice matters"


@pytest.mark.parametrize("labels", ["first", "mean"])
def test_a_video_of_several_labels_is_right_if_its_first_or_any_is_predicted(
    tmp_path: Path, labels: str
) -> None:
    all_labels = [[i % C, (i + 1) % C] for i in range(N)]
    literal = Literal(tmp_path, all_labels=all_labels)
    env = FocusEnv(**literal.files, labels=labels, split=None)
    outcomes = set()
    for video in range(N):
        _, info = env.reset(options={"video": video})
        assert info["label"] == all_labels[video][0]
        for t in range(T):
            info = env.step(np.int64(t))[4]
            looks = [(k, 1) for k in range(t + 1)]
            best = int(literal.probabilities(video, looks).argmax())
            right = all_labels[video][:1] if labels == "first" else all_labels[video]
            assert info["correct"] is (best in right)
            assert info["confidence"] == pytest.approx(
                literal.confidence(video, looks, labels), abs=1e-6
            )
            outcomes.add((best in right, best == all_labels[video][1]))
    assert (labels == "mean", True) in outcomes, "the second label was predicted"


@pytest.mark.parametrize(
    ("reward", "message"),
    [
        (
            "increment",
            "'increment': did you mean 'increments'. reward must be one of increment_over_random, c"
            "onfidence, increments, padding, final, best_margin, or 'module:attribute' of your own",
        ),
        ("nowhere:Design", r"got 'nowhere:Design' \(No module named 'nowhere'\)"),
        (f"{__name__}:Design", "that Python finds; got .*:Design' .*no attribute 'Design'"),
        ({"draws": 1}, r"a mapping with 'name' and parameters, or a function .*; got {'draws': 1}"),
        ({"name": "padding", "draws": 3}, "reward 'padding' does not take {'draws': 3}: "),
        ({"name": f"{__name__}:Shortfall", "height": 2}, "does not take {'height': 2}: .*height"),
        ({"name": "increment_over_random", "draws": 0}, "draws must be at least 1, or None .*; "),
        (f"{__name__}:Incomplete", "Incomplete' is a class whose instances cannot be called: a"),
        (f"{__name__}:K", "reward .*:K' is 'int' and cannot be called"),
        (3, "a function of Confidences; got 3"),
    ],
)
def test_what_is_no_reward_design_is_refused(reward: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_design(reward)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("rewards", "received"),
    [
        ([[0.5]], r"shape \(1, 1\): \[0.5\]"),
        ([0.5, 0.5], r"shape \(2,\): \[0.5, 0.5\]"),
        ([float("nan")], r"shape \(1,\): \[nan\]"),
        ([float("inf")], r"shape \(1,\): \[inf\]"),
    ],
)
def test_rewards_of_a_wrong_design_are_refused(
    tmp_path: Path, kind: str, rewards: Any, received: str
) -> None:
    env_class, keywords = KINDS[kind]
    reward = {"name": f"{__name__}:Returns", "rewards": rewards}
    with pytest.raises(
        ValueError, match=rf"reward .* must return \(1,\) finite numbers; got {received}"
    ):
        env_class(**Literal(tmp_path).files, **keywords, reward=reward)


@pytest.mark.parametrize(
    ("design", "message"),
    [
        ({"returns": 0.5}, "reward 'mine' must return a Tensor; got float"),
        ({"draws": -1}, "reward 'mine': draws must be a number of options, or None .*; got -1"),
        ({"draws": 1.5}, "draws must be a number of options, or None for all; got 1.5"),
        ({"draws": True}, "draws must be a number of options, or None for all; got True"),
        (
            {"draws": 0},
            r"reward 'mine' fails on 2 confidences of 0.5 \(AttributeError: .*: mend it",
        ),
    ],
)
def test_a_design_is_tried_before_anything_is_played(design: dict[str, Any], message: str) -> None:
    class Mine:
        draws = design.get("draws", 1)
        compares_skip = False

        def __call__(self, p: Confidences) -> Any:
            return design.get("returns", p.chosen - p.random.mean(1))

    with pytest.raises(ValueError, match=message):
        check_design(Mine(), "mine", 2, C)


def test_a_design_may_compute_in_place(tmp_path: Path) -> None:
    files = Literal(tmp_path).files
    env = FocusEnv(**files, reward=f"{__name__}:InPlace")
    other = FocusEnv(**files, reward="increments")
    for each in (env, other):
        each.reset(seed=0)
    for _ in range(T):
        (_, reward, _, _, info), expected = env.step(3), other.step(3)
        assert reward == pytest.approx(expected[1], abs=1e-7)
        assert info["confidence"] == pytest.approx(expected[4]["confidence"], abs=1e-7)
    unchanged = env.record(), other.record()
    np.testing.assert_allclose(*(each.confidences for each in unchanged), atol=1e-7)


def test_a_design_may_be_a_function_and_may_price_what_was_spent(tmp_path: Path) -> None:
    env = FocusEnv(task="AdaFocusPlus", **Literal(tmp_path).files, reward=f"{__name__}:total")
    env.reset(seed=0)
    for look in (1, 0, 1):
        info = env.step([3, look])[4]
        if look:
            expected = info["confidence"] - 0.01 * info["gmacs"]
            assert info["reward_location"] == pytest.approx(expected, abs=1e-6)


def test_an_episode_in_which_a_design_failed_is_over(tmp_path: Path) -> None:
    env = FocusEnv(**Literal(tmp_path).files, reward=f"{__name__}:AfterOne")
    env.reset(seed=0)
    env.step(0)
    with pytest.raises(ValueError, match=r"must return \(1,\) finite numbers; got .* \[nan\]"):
        env.step(0)
    with pytest.raises(RuntimeError, match=r"no episode is running .*: call reset\(\)"):
        env.step(0)
    assert env.record().n_decisions == 1, "only what has a reward"
    env.reset()
    env.step(4)
    with pytest.raises(ValueError, match="finite numbers"):
        env.step(0)
    assert env.record().options.tolist() == [4], "nothing of the episode before"
