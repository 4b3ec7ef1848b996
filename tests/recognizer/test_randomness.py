"""Random numbers of different purposes, seeds and keys have nothing in common."""

from __future__ import annotations

import ast
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

import focusgym.recognizer
from focusgym.agents.systems.gradient import GradientSystem
from focusgym.agents.systems.registry import SYSTEMS, find_system
from focusgym.recognizer import Purpose, first_weights, generator
from focusgym.recognizer.randomness import OWN_STAGES, PLAYED_ON_PIXELS, TrainingStage

ROOT = Path(focusgym.recognizer.__file__).parent.parent
KEYS = [(), (0,), (1,), (0, 0), (0, 1), (1, 0), (0, 0, 0)]


def test_no_two_purposes_seeds_or_keys_share_a_number() -> None:
    drawn = {}
    for purpose, seed, key in itertools.product(Purpose, (0, 1, 2**32, 2**40), KEYS):
        for number in generator(purpose, seed, *key).integers(2**63, size=100).tolist():
            assert number not in drawn, f"{purpose, seed, key} and {drawn[number]}"
            drawn[number] = purpose, seed, key
    assert len(drawn) == len(Purpose) * 4 * len(KEYS) * 100


def test_the_same_purpose_seed_and_key_draw_the_same() -> None:
    for purpose in Purpose:
        twice = [generator(purpose, 5, 1, 2).random(10) for _ in range(2)]
        assert np.array_equal(*twice)


def test_no_two_stages_of_training_share_their_draws() -> None:
    """But for two that share a number: gates draw an order alone, and pixels draws alone."""
    stages = {name: int(stage) for name, stage in TrainingStage.__members__.items()}
    assert PLAYED_ON_PIXELS == stages["FRAMEEXIT_GATES"] == 20
    as_before = [*range(5), *range(10, 17), *range(20, 27)]
    assert [*stages.values()] == as_before, "another number would change what every seed draws"
    assert max(as_before) < OWN_STAGES
    kinds = {type(find_system(name)) for name in SYSTEMS}
    of_systems = [kind.stage for kind in kinds if issubclass(kind, GradientSystem)]
    assert sorted(of_systems) == [21, 22, 23, 24, 25, 26]


def test_a_negative_seed_or_key_is_refused() -> None:
    for numbers in ((-1,), (0, -1)):
        with pytest.raises(ValueError, match="non-negative"):
            generator(Purpose.DROPOUT, *numbers)


def test_orders_of_an_epoch_and_a_rollout_do_not_follow_its_actions() -> None:
    """The uniforms behind two permutations and the actions of a rollout are all different."""
    purposes = (Purpose.VIDEO_ORDER, Purpose.LOCATION_ACTIONS, Purpose.KEEP_ACTIONS)
    firsts = [generator(purpose, 0, n).random(1000) for purpose in purposes for n in range(3)]
    correlation = np.corrcoef(firsts) - np.eye(len(firsts))
    assert np.abs(correlation).max() < 5 / 1000**0.5


def test_nothing_else_in_the_package_makes_a_generator() -> None:
    """Or what it draws might be what another purpose draws."""
    made = set()
    for room in ("recognizer", "feature_cache", "envs", "agents", "runs"):
        for path in (ROOT / room).resolve().rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
                if name in ("default_rng", "PCG64", "Philox", "manual_seed"):
                    made.add(path.name)
    assert made == {"randomness.py"}


def test_first_weights_are_those_of_the_seed_and_leave_the_global_generator() -> None:
    expected = torch.empty(3, 2)
    bound = 2**-0.5  # Linear's: one over the square root of its inputs
    expected.uniform_(-bound, bound, generator=torch.Generator().manual_seed(7))
    before = torch.get_rng_state()
    with first_weights(7):
        one, other = torch.nn.Linear(2, 3), torch.nn.Linear(2, 3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.testing.assert_close(one.weight.data, expected)
    assert not torch.equal(one.weight, other.weight)
