"""Reward designs: which confidences a reward is made of; by name, or a user's own object."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, TypeAlias

from torch import Tensor

from ...recognizer.registry import find
from .functions import final, increment_over_random, increments, margin, margin_gain, padding


@dataclass(frozen=True, kw_only=True)
class Confidences:
    """What a reward design is called with: confidences on the true label around one decision.

    All of them have the same history. A design may compute in place: they are its own.

    Attributes:
        chosen: ``(B,)`` after looking at the chosen option. In AdaFocus+ also where the frame was
            skipped: what looking would have given.
        previous: ``(B,)`` after the decision before, as it came about; 0 at the first.
        gmacs: ``(B,)`` float64 on the CPU, cost of the episode so far, with this decision.
        logits: ``(B, C)`` of the classes, after looking at the chosen option, as ``chosen``.
        labels: ``(B,)`` int64, the true class; with the environment's ``labels="mean"``
            ``(B, C)`` bool, all true classes.
        options: ``(B,)`` int64 in ``[0, K)``, the chosen option; any where none was chosen.
        named: ``(B,)`` bool, whether an option was chosen. In AdaFocus+ it may be where the frame
            was skipped.
        step: ``(B,)`` int64 in ``[0, D)``, which decision of the episode it is.
        last: ``(B,)`` bool, whether the episode ends with it.
        random: ``(B, k)`` after looking at k random options instead; k is the design's ``draws``.
        skip: ``(B,)`` after looking at nothing, if the design ``compares_skip``.
        best_margin: ``(B,)`` the largest margin before the decision, see `margin`, and 0 at the
            first, if the design has ``compares_margin``.
    """

    chosen: Tensor
    previous: Tensor
    gmacs: Tensor
    logits: Tensor
    labels: Tensor
    options: Tensor
    named: Tensor
    step: Tensor
    last: Tensor
    random: Tensor | None = None
    skip: Tensor | None = None
    best_margin: Tensor | None = None


class RewardDesign(Protocol):
    """A rule from confidences to a reward.

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
        if self.draws is not None and (type(self.draws) is not int or self.draws < 1):
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


@dataclass(frozen=True)
class Final:
    """1 if the episode ends with the right prediction, and nothing before; see `final`."""

    draws: ClassVar[int] = 0
    compares_skip: ClassVar[bool] = False

    def __call__(self, p: Confidences) -> Tensor:
        """Return rewards ``(B,)``."""
        return final(p.logits, p.labels, p.last)


@dataclass(frozen=True)
class BestMargin:
    """By how much the margin is better than all before; see `margin_gain`."""

    draws: ClassVar[int] = 0
    compares_skip: ClassVar[bool] = False
    compares_margin: ClassVar[bool] = True

    def __call__(self, p: Confidences) -> Tensor:
        """Return rewards ``(B,)``."""
        assert p.best_margin is not None  # the environment gives what `compares_margin` asks for
        return margin_gain(margin(p.logits, p.labels), p.best_margin)


DESIGNS: dict[str, type[RewardDesign]] = {
    "increment_over_random": IncrementOverRandom,
    "confidence": Confidence,
    "increments": Increments,
    "padding": Padding,
    "final": Final,
    "best_margin": BestMargin,
}


# What is taken wherever a reward design is wanted in Python; see `make_design`.
Reward: TypeAlias = str | Mapping[str, Any] | Callable[[Any], Any]


@dataclass(frozen=True)
class FunctionDesign:
    """A function of `Confidences` as a design.

    Attributes:
        function: Returns rewards ``(B,)``.
        keywords: Of the function, besides the confidences.
        draws: Random options to compare with.
        compares_skip: Whether skip is compared with.
        compares_margin: Whether the largest margin so far is.
    """

    function: Callable[..., Tensor]
    keywords: Mapping[str, Any] = field(default_factory=dict)
    draws: int | None = 0
    compares_skip: bool = False
    compares_margin: bool = False

    def __call__(self, p: Confidences) -> Tensor:
        """Return rewards ``(B,)``."""
        return self.function(p, **self.keywords)


def make_design(reward: Reward) -> RewardDesign:
    """Build a reward design.

    Args:
        reward: One of

            - a name: one of `DESIGNS`, or ``module:attribute`` of a function of `Confidences`, of
              a `RewardDesign`, or of a class of these, which is called with the parameters. A name
              may come from a file of somebody else, so nothing of Python's own modules is taken,
              and no class without a ``__call__`` of its own;
            - a mapping of ``name`` and parameters, such as
              ``{"name": "increment_over_random", "draws": None}``. Parameters of a function of
              `Confidences` are its keywords;
            - a function of `Confidences`, or a `RewardDesign`, itself.

            What has no attribute ``draws`` or ``compares_skip`` compares with nothing.

    Raises:
        ValueError: If the name is unknown, cannot be imported, does not take the parameters, or
            gives no reward design.
    """
    if callable(reward) and not isinstance(reward, str | Mapping):
        return _called(reward, {}, reward) if isinstance(reward, type) else _as_design(reward)
    mapping: Any = {"name": reward} if isinstance(reward, str) else reward
    parameters = dict(mapping) if isinstance(mapping, Mapping) else {}
    name = parameters.pop("name", None)
    if not isinstance(name, str):
        raise ValueError(
            "a reward is a name, a mapping with 'name' and parameters, or a function of "
            f"Confidences; got {reward!r}"
        )
    attribute = _find(name)
    if isinstance(attribute, type):
        if not any("__call__" in each.__dict__ for each in attribute.__mro__):
            raise ValueError(
                f"reward {name!r} is a class whose instances cannot be called: a reward design is "
                "called with Confidences, and returns (B,) rewards"
            )
        return _called(attribute, parameters, name)
    if not callable(attribute):
        raise ValueError(
            f"reward {name!r} is {type(attribute).__name__!r} and cannot be called: give a "
            "function of Confidences, or a class of such functions"
        )
    if not _takes(attribute, parameters, None):
        raise ValueError(
            f"reward {name!r} does not take {parameters}: it is called with Confidences and these "
            f"keywords, and is {name}{inspect.signature(attribute)}"
        )
    return _as_design(attribute, parameters)


def reward_name(reward: Reward) -> str:
    """Return how messages call a reward design."""
    if isinstance(reward, str | Mapping):
        return repr(reward)
    return str(getattr(reward, "__qualname__", type(reward).__qualname__))


def stored_reward(reward: Reward) -> str | Mapping[str, Any]:
    """Return a reward design as it can be stored.

    Raises:
        ValueError: If it is a Python object: only a name can be stored.
    """
    if isinstance(reward, str | Mapping):
        return reward
    of = reward if hasattr(reward, "__qualname__") else type(reward)
    module, attribute = of.__module__, of.__qualname__
    named = "my_rewards:my_reward"
    if module != "__main__" and "<" not in attribute and "." not in attribute:
        named = f"{module}:{attribute}"
    raise ValueError(
        f"the reward {reward_name(reward)} is a Python object, which cannot be stored as JSON: put "
        f"it into a module, and give its name as 'module:attribute', such as {named!r}"
    )


def _called(attribute: Any, parameters: Mapping[str, Any], reward: Reward) -> RewardDesign:
    """Return the design that a class gives."""
    try:
        design = attribute(**parameters)
    except TypeError as error:
        raise ValueError(
            f"reward {reward_name(reward)} does not take {dict(parameters)}: {error}"
        ) from error
    if not callable(design):
        raise ValueError(
            f"reward {reward_name(reward)} gave {design!r}, which cannot be called: a reward "
            "design is called with Confidences, and returns (B,) rewards"
        )
    return _as_design(design)


def _as_design(rule: Any, keywords: Mapping[str, Any] | None = None) -> RewardDesign:
    """Return a function or object as a design: itself where it has all that one has."""
    if not keywords and hasattr(rule, "draws") and hasattr(rule, "compares_skip"):
        return rule  # type: ignore[no-any-return]
    asks = getattr(rule, "draws", 0), getattr(rule, "compares_skip", False)
    margin_too = getattr(rule, "compares_margin", False)
    return FunctionDesign(rule, keywords or {}, *asks, margin_too)


def _takes(function: Callable[..., Any], keywords: Mapping[str, Any], *arguments: Any) -> bool:
    """Return whether a function can be called so."""
    try:
        inspect.signature(function).bind(*arguments, **keywords)
    except TypeError:
        return False
    except ValueError:  # it does not say what it takes: some of those written in C
        return bool(arguments)
    return True


def _find(name: str) -> Any:
    module, separator, _ = name.partition(":")
    if not (separator and _is_pythons(module)):
        definition = find("reward", name, DESIGNS, trusted=True)
        if not (inspect.isclass(definition) or inspect.isroutine(definition)):
            return definition
        module = definition.__module__ or "builtins"  # it may have been imported there
        if not _is_pythons(module):
            return definition
    raise ValueError(
        f"reward {name!r} is of Python's own module {module}, which holds no reward: expected "
        "'module:attribute' of something of yours"
    )


def _is_pythons(module: str) -> bool:
    """Return whether a module is of Python's own: what a file names there must not be called."""
    return module.partition(".")[0] in sys.stdlib_module_names
