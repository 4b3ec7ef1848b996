"""Action sets in both directions: what actions mean, and which actions mean it."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest

from focusgym.envs.tasks.actions import action_set_of, action_sets

OPTIONS, LOOKS = np.array([0, 2, 1, 2]), np.array([True, False, False, True])


@pytest.mark.parametrize(
    ("space", "expected"),
    [
        (gymnasium.spaces.Discrete(4), [0, 3, 3, 2]),
        (gymnasium.spaces.MultiDiscrete([3, 2]), [[0, 1], [2, 0], [1, 0], [2, 1]]),
    ],
)
def test_an_action_means_what_it_is_made_for(
    space: gymnasium.spaces.Space[Any], expected: list[object]
) -> None:
    actions = action_set_of(space, 3)
    chosen = actions.actions_for(OPTIONS, LOOKS)
    assert chosen.tolist() == expected
    choice = actions.choose(chosen, 4)
    assert choice.looks.tolist() == LOOKS.tolist()
    assert choice.named.tolist() == (LOOKS | (chosen.ndim == 2)).tolist()
    assert choice.options[choice.named].tolist() == OPTIONS[choice.named].tolist()
    assert ((choice.options >= 0) & (choice.options < 3)).all()


def test_where_every_action_looks_it_is_the_option() -> None:
    actions = action_set_of(gymnasium.spaces.Discrete(3), 3)
    assert actions.actions_for(OPTIONS, LOOKS | True).tolist() == OPTIONS.tolist()
    assert actions.choose(OPTIONS, 4).named.all()


def test_a_space_of_other_options_is_refused() -> None:
    assert len({str(each.space) for each in action_sets(3)}) == 3
    with pytest.raises(
        ValueError, match=r"actions on 3 options, Discrete\(3\), .*; got Discrete\(9"
    ):
        action_set_of(gymnasium.spaces.Discrete(9), 3)
