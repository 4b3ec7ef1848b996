"""Reward designs: which confidences a reward is made of, by name and with parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar, Protocol, cast

import torch
from torch import Tensor

from .rewards import increment_over_random, increments, padding


@dataclass(frozen=True)
class Confidences:
    """Confidences on the true label around one decision, everything before it being the same.

    Attributes:
        chosen: ``(B,)`` after looking at the chosen option. In AdaFocus+ also where the frame was
            skipped: what looking would have given.
        previous: ``(B,)`` after the decision before, as it came about; 0 at the first.
        random: ``(B, k)`` after looking at k random options instead; k is the design's ``draws``.
        skip: ``(B,)`` after looking at nothing, if the design ``compares_skip``.
        gmacs: ``(B,)`` float64, cost of the episode so far, with this decision.
    """

    chosen: Tensor
    previous: Tensor
    random: Tensor | None = None
    skip: Tensor | None = None
    gmacs: Tensor | None = None


class RewardDesign(Protocol):
    """A rule from confidences to a reward; any object with these three will do.

    Attributes:
        draws: How many random options it wants to compare with; None for all of them.
        compares_skip: Whether it wants the confidence after looking at nothing.
    """

    @property
    def draws(self) -> int | None:
        """Random options to compare with."""

    @property
    def compares_skip(self) -> bool:
        """Whether skip is compared with."""

    def __call__(self, p: Confidences) -> Tensor:
        """Return rewards ``(B,)``."""


@dataclass(frozen=True)
class IncrementOverRandom:
    """Eq. 7; see `increment_over_random`.

    Attributes:
        draws: k (1 in the paper); None compares with all options: the exact expectation.

    Raises:
        ValueError: If ``draws`` is not positive.
    """

    draws: int | None = 1
    compares_skip: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Check the number of draws."""
        if self.draws is not None and (not isinstance(self.draws, int) or self.draws < 1):
            raise ValueError(
                f"draws must be at least 1, or None (null) for all options; got {self.draws!r}"
            )

    def __call__(self, p: Confidences) -> Tensor:
        """Return rewards ``(B,)``."""
        assert p.random is not None  # the environment gives what `draws` asks for
        return increment_over_random(p.chosen, p.random)


@dataclass(frozen=True)
class Confidence:
    """The confidence itself: ``r_t = p_t``.

    Source: AdaFocus (arXiv:2105.03245) Table 5, "confidence reward".
    """

    draws: ClassVar[int] = 0
    compares_skip: ClassVar[bool] = False

    def __call__(self, p: Confidences) -> Tensor:
        """Return rewards ``(B,)``."""
        return p.chosen


@dataclass(frozen=True)
class Increments:
    """The increment over the step before; see `increments`."""

    draws: ClassVar[int] = 0
    compares_skip: ClassVar[bool] = False

    def __call__(self, p: Confidences) -> Tensor:
        """Return rewards ``(B,)``."""
        return increments(p.chosen, p.previous)


@dataclass(frozen=True)
class Padding:
    """The increment over looking at nothing; see `padding`."""

    draws: ClassVar[int] = 0
    compares_skip: ClassVar[bool] = True

    def __call__(self, p: Confidences) -> Tensor:
        """Return rewards ``(B,)``."""
        assert p.skip is not None  # the environment gives what `compares_skip` asks for
        return padding(p.chosen, p.skip)


DESIGNS: dict[str, type[RewardDesign]] = {
    "increment_over_random": IncrementOverRandom,
    "confidence": Confidence,
    "increments": Increments,
    "padding": Padding,
}


def make_design(reward: str | Mapping[str, Any]) -> RewardDesign:
    """Build a reward design.

    Args:
        reward: A name: one of `DESIGNS`, or ``module:attribute`` of a `RewardDesign`, or of a
            class or function that gives one when it is called with the parameters. Or a mapping of
            ``name`` and parameters, such as ``{"name": "increment_over_random", "draws": None}``.

    Raises:
        ValueError: If the name is unknown, cannot be imported, does not take the parameters, or
            gives no reward design.
    """
    given: Any = {"name": reward} if isinstance(reward, str) else reward
    parameters = dict(given) if isinstance(given, Mapping) else {}
    name = parameters.pop("name", None)
    if not isinstance(name, str):
        raise ValueError(
            f"a reward is a name, or a mapping with 'name' and parameters; got {reward!r}"
        )
    found = _find(name)
    if not parameters and not isinstance(found, type) and hasattr(found, "draws"):
        return cast(RewardDesign, found)
    try:
        design: RewardDesign = found(**parameters)
    except TypeError as error:
        raise ValueError(f"reward {name!r} does not take {parameters}: {error}") from error
    missing = [part for part in ("draws", "compares_skip") if not hasattr(design, part)]
    if missing or not callable(design):
        raise ValueError(
            f"reward {name!r} gave {design!r}, expected a RewardDesign: it needs draws, "
            "compares_skip and to be callable with Confidences"
        )
    return design


def check_rewards(rewards: Tensor, reward: str | Mapping[str, Any], n_envs: int) -> None:
    """Check what a design returned.

    Raises:
        ValueError: If it is not one finite number per episode.
    """
    if not isinstance(rewards, Tensor):
        raise ValueError(f"reward {reward!r} must return a Tensor; got {type(rewards).__name__}")
    if rewards.shape != (n_envs,) or not math.isfinite(float(rewards.sum())):
        raise ValueError(
            f"reward {reward!r} must return ({n_envs},) finite numbers; got shape "
            f"{tuple(rewards.shape)}: {rewards.flatten()[:5].tolist()}"
        )


def check_design(design: RewardDesign, reward: str | Mapping[str, Any], n_envs: int) -> None:
    """Try a design on even confidences, before anything is played.

    Raises:
        ValueError: If it fails, or does not return one finite number per episode.
    """
    draws = design.draws
    if draws is not None and (not isinstance(draws, int) or isinstance(draws, bool) or draws < 0):
        raise ValueError(
            f"reward {reward!r}: draws must be a number of options, or None for all; got {draws!r}"
        )
    even = torch.full((n_envs,), 0.5)
    random = torch.full((n_envs, 1 if draws is None else draws), 0.5)
    p = Confidences(
        even,
        even,
        random if draws != 0 else None,
        even if design.compares_skip else None,
        torch.ones(n_envs, dtype=torch.float64),
    )
    try:
        rewards = design(p)
    except Exception as error:
        raise ValueError(
            f"reward {reward!r} fails on {n_envs} confidences of 0.5 "
            f"({type(error).__name__}: {error}): mend it, or ask for what it needs with draws and "
            "compares_skip"
        ) from error
    check_rewards(rewards, reward, n_envs)


def _find(name: str) -> Any:
    if name in DESIGNS:
        return DESIGNS[name]
    module, separator, attribute = name.partition(":")
    if not separator:
        raise ValueError(
            f"unknown reward {name!r}: choose one of {', '.join(DESIGNS)}, or give your own as "
            "'module:attribute'"
        )
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"reward {name!r} cannot be imported ({error}): expected 'module:attribute' of a "
            "module that Python finds"
        ) from error
