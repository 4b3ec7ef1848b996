"""Action sets: what an agent's action says about where to look and whether."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Choice:
    """What N actions mean.

    Attributes:
        options: ``(N,)`` int64 in ``[0, K)``; any where none was named.
        looks: ``(N,)`` bool, whether f_L is to run.
        named: ``(N,)`` bool, whether an option was named: with skip of the flat set none is.
    """

    options: NDArray[np.int64]
    looks: NDArray[np.bool_]
    named: NDArray[np.bool_]


class ActionSet(Protocol):
    """The actions of one environment, and what they mean.

    Attributes:
        space: Of one environment.
        can_skip: Whether an action can say not to look.
    """

    can_skip: ClassVar[bool]

    @property
    def space(self) -> spaces.Space[Any]:
        """Of one environment."""

    def choose(self, actions: ArrayLike, n_envs: int) -> Choice:
        """Read N actions.

        Raises:
            ValueError: If they are not N actions of the space, or an option is not allowed.
        """

    def actions_for(
        self, options: NDArray[np.int64], looks: NDArray[np.bool_]
    ) -> NDArray[np.int64]:
        """Return the N actions that mean this: the other direction of `choose`.

        Args:
            options: ``(N,)`` in ``[0, K)``.
            looks: ``(N,)`` whether f_L is to run; everywhere, if no action can say not to look.
        """

    def without(self, choice: Choice, affordable: NDArray[np.bool_]) -> Choice:
        """Return a choice in which looks are skips where the budget has no room for them.

        Args:
            choice: From `choose`.
            affordable: ``(N, K)`` whether the budget has room for a look on each option.
        """

    def masks(self, affordable: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return which actions are possible, ``(N, number of actions)``.

        Args:
            affordable: ``(N, K)`` whether the budget has room for a look on each option.
        """


class PatchActions:
    """``Discrete(K)``: where to look."""

    can_skip: ClassVar[bool] = False

    def __init__(self, allowed: NDArray[np.bool_]) -> None:
        """Take which of the K options are allowed, ``(K,)``."""
        self._allowed = allowed
        self.space = spaces.Discrete(len(allowed))

    def choose(self, actions: ArrayLike, n_envs: int) -> Choice:
        """Return the options; every action looks."""
        options = checked_actions(actions, (n_envs,), (len(self._allowed),))
        check_allowed(options, self._allowed)
        every = np.ones(n_envs, dtype=bool)
        return Choice(options, every, every)

    def actions_for(
        self, options: NDArray[np.int64], looks: NDArray[np.bool_]
    ) -> NDArray[np.int64]:
        """Return the options ``(N,)``."""
        return options

    def without(self, choice: Choice, affordable: NDArray[np.bool_]) -> Choice:
        """Return the choice: where every action looks, there is no budget."""
        return choice

    def masks(self, affordable: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return the allowed options ``(N, K)``."""
        return np.tile(self._allowed, (len(affordable), 1))


class PairActions:
    """``MultiDiscrete([K, 2])``: where to look, and whether (1) or not (0).

    The location counts also where the frame is skipped: π's reward asks what looking there would
    have given.
    """

    can_skip: ClassVar[bool] = True

    def __init__(self, allowed: NDArray[np.bool_]) -> None:
        """Take which of the K options are allowed, ``(K,)``."""
        self._allowed = allowed
        self.space = spaces.MultiDiscrete([len(allowed), 2])

    def choose(self, actions: ArrayLike, n_envs: int) -> Choice:
        """Return the options, and whether to look."""
        pairs = checked_actions(actions, (n_envs, 2), (len(self._allowed), 2))
        check_allowed(pairs[:, 0], self._allowed)
        return Choice(pairs[:, 0], pairs[:, 1] == 1, np.ones(n_envs, dtype=bool))

    def actions_for(
        self, options: NDArray[np.int64], looks: NDArray[np.bool_]
    ) -> NDArray[np.int64]:
        """Return the pairs ``(N, 2)``."""
        return np.stack([options, looks], axis=1)

    def without(self, choice: Choice, affordable: NDArray[np.bool_]) -> Choice:
        """Keep the options, and look only where there is room."""
        return Choice(choice.options, choice.looks & _room(choice, affordable), choice.named)

    def masks(self, affordable: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return ``(N, K + 2)``: the allowed options, then skip and look."""
        rows = np.ones((len(affordable), len(self._allowed) + 2), dtype=bool)
        rows[:, :-2] = self._allowed
        rows[:, -1] = (affordable & self._allowed).any(axis=1)
        return rows


class FlatActions:
    """``Discrete(K + 1)``: where to look, or K to skip."""

    can_skip: ClassVar[bool] = True

    def __init__(self, allowed: NDArray[np.bool_]) -> None:
        """Take which of the K options are allowed, ``(K,)``."""
        self._allowed, self._skip = np.append(allowed, True), len(allowed)
        self.space = spaces.Discrete(len(self._allowed))

    def choose(self, actions: ArrayLike, n_envs: int) -> Choice:
        """Return the options, of which skip names none, and whether to look."""
        chosen = checked_actions(actions, (n_envs,), (len(self._allowed),))
        check_allowed(chosen, self._allowed)
        looks = chosen < self._skip
        return Choice(np.where(looks, chosen, 0), looks, looks)

    def actions_for(
        self, options: NDArray[np.int64], looks: NDArray[np.bool_]
    ) -> NDArray[np.int64]:
        """Return the options ``(N,)``, K where not to look."""
        return np.where(looks, options, self._skip)

    def without(self, choice: Choice, affordable: NDArray[np.bool_]) -> Choice:
        """Look only where there is room; elsewhere no option is named."""
        looks = choice.looks & _room(choice, affordable)
        return Choice(choice.options, looks, looks)

    def masks(self, affordable: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return ``(N, K + 1)``: the allowed options where there is room for a look, and skip."""
        skip = np.ones((len(affordable), 1), dtype=bool)
        return np.concatenate([affordable & self._allowed[:-1], skip], axis=1)


def _room(choice: Choice, affordable: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return ``(N,)``, whether the budget has room for the chosen looks; any for those of none."""
    has_room: NDArray[np.bool_] = affordable[np.arange(len(affordable)), choice.options]
    return has_room


_KINDS: dict[str, Callable[[NDArray[np.bool_]], ActionSet]] = {
    "patches": PatchActions,
    "pairs": PairActions,
    "flat": FlatActions,
}


def action_set(kind: str, allowed: NDArray[np.bool_]) -> ActionSet:
    """Return an action set.

    Args:
        kind: ``patches`` (where), ``pairs`` (where, and whether) or ``flat`` (where, or skip).
        allowed: ``(K,)`` which options may be chosen.
    """
    return _KINDS[kind](allowed)


def action_sets(n_options: int) -> tuple[ActionSet, ...]:
    """Return every action set of K options that are all allowed."""
    every = np.ones(n_options, dtype=bool)
    return PatchActions(every), FlatActions(every), PairActions(every)


def action_set_of(space: spaces.Space[Any], n_options: int) -> ActionSet:
    """Return the action set of a space, all K options being allowed.

    Raises:
        ValueError: If it is that of none.
    """
    known = action_sets(n_options)
    for each in known:
        if space == each.space:
            return each
    expected = ", ".join(str(each.space) for each in known)
    raise ValueError(
        f"expected one of the spaces of actions on {n_options} options, {expected}; got {space}: "
        "use the cache and the group that the actions were made for"
    )


def checked_actions(
    actions: ArrayLike, shape: tuple[int, ...], sizes: tuple[int, ...]
) -> NDArray[np.int64]:
    """Return actions as int64, if their shape, type and range are right.

    Args:
        actions: As they came.
        shape: Expected.
        sizes: Numbers of possible values, of the last axis or of all.

    Raises:
        ValueError: If they are not.
    """
    chosen = np.asarray(actions)
    right = chosen.shape == shape and chosen.dtype.kind in "iu"
    if right and chosen.min() >= 0 and (chosen < sizes).all():
        return chosen.astype(np.int64)
    ranges = " and ".join(f"[0, {size})" for size in sizes)
    expected = f"expected integer actions of shape {shape} in {ranges}"
    if not right:
        raise ValueError(f"{expected}; got {chosen.dtype} of shape {chosen.shape}")
    outside = chosen[(chosen < 0) | (chosen >= sizes)]
    raise ValueError(f"{expected}; got {outside.tolist()} among them")


def checked_numbers(
    actions: ArrayLike, shape: tuple[int, ...], what: str = "numbers"
) -> NDArray[np.float64]:
    """Return actions as float64, if their shape and type are right and they are finite.

    Args:
        actions: As they came.
        shape: Expected.
        what: What messages call the numbers.

    Raises:
        ValueError: If they are not.
    """
    numbers = np.asarray(actions)
    if numbers.shape != shape or numbers.dtype.kind not in "fiu":
        raise ValueError(
            f"expected {what} of shape {shape}; got {numbers.dtype} of shape {numbers.shape}"
        )
    if not np.isfinite(numbers).all():
        raise ValueError(f"expected finite {what}; got {numbers[~np.isfinite(numbers)][:5]}")
    return numbers.astype(np.float64)


def check_allowed(options: NDArray[np.int64], allowed: NDArray[np.bool_]) -> None:
    """Check options.

    Args:
        options: Any number, in ``[0, K)``.
        allowed: ``(K,)`` which of them may be chosen.

    Raises:
        ValueError: If one may not.
    """
    if not allowed[options].all():
        forbidden = sorted(set(options[~allowed[options]].tolist()))
        raise ValueError(
            f"expected options among options_allowed {np.flatnonzero(allowed).tolist()}; got "
            f"{forbidden}: use action_masks() with a maskable agent, or allow all options"
        )
