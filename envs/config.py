"""What an environment is made of: every value JSON-able, so that its spec can be stored."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from numbers import Integral
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from ..recognizer.files.typed import is_finite

if TYPE_CHECKING:
    from .rewards.designs import Reward


@dataclass(frozen=True)
class EnvConfig:
    """The keywords of ``focusgym/AdaFocus-v0``; other environments have some more.

    Attributes:
        cache: Folder of the feature cache; a str, where the spec is to be stored as JSON.
        classifier: Folder of the classifier bundle, trained on that cache.
        group: Name of the cache's option group, or of several, whose options come one group after
            the other; needed where it holds several.
        split: Which videos are played; None for those of all splits.
        videos: Rows of the cache to play, all of them in the split; None for the whole split.
        order: ``shuffled`` anew in every epoch, or as ``listed``.
        seed: Seed until a reset gives another.
        observation: ``map`` (the glance map, flat), ``index`` (which video and which segment; the
            policy gathers the map from the cache itself), ``state`` (what was glanced at and fed,
            f_C's state and its prediction) or ``maps`` (the same with all glance maps of the video;
            of ``focusgym/Cubes-v0`` and ``focusgym/Clip-v0`` alone).
        reward: A reward design by name, or with parameters, or a Python function or object, which
            cannot be stored as JSON; see `make_design`.
        labels: What the confidence of a video with several labels is: that of the ``first`` as in
            the released code, or the ``mean`` over all.
        options_allowed: Options that may be chosen, and drawn as random ones; None for all.
        policy_gmacs: What the agent itself spends per decision, GMACs: charged with the rest.
        projection_bytes: Most memory, per process, for a table of f_C's projected inputs: filled
            video by video as they are played, shared by the environments of the process. Where one
            for all videos of the cache would be larger, they are computed in each step. None is
            2 GiB, and on a GPU half of the memory that is free there.
        device: Where the engine computes, such as ``cuda``.
        videos_root: Where the folder of the videos is now, which only pictures of episodes need;
            None looks for it, as `FeatureCache.open` does.

    Raises:
        ValueError: If a value is not among those that are allowed.
    """

    # The rules, a class derived from `Task`: what an action means, and when an episode ends.
    task: ClassVar[str] = "focusgym.envs.tasks.adafocus:AdaFocusTask"
    observations: ClassVar[tuple[str, ...]] = ("map", "index", "state")

    cache: str | os.PathLike[str]
    classifier: str | os.PathLike[str]
    group: str | Sequence[str] | None = None
    split: str | None = "train"
    videos: Sequence[int] | None = None
    order: str = "shuffled"
    seed: int = 0
    observation: str = "map"
    reward: Reward = "increment_over_random"
    labels: str = "first"
    options_allowed: Sequence[int] | None = None
    policy_gmacs: float = 0.0
    projection_bytes: int | None = None
    device: str = "cpu"
    videos_root: str | os.PathLike[str] | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        check_one_of("order", self.order, ("shuffled", "listed"))
        check_one_of("observation", self.observation, self.observations)
        check_one_of("labels", self.labels, ("first", "mean"))
        check_number("policy_gmacs", self.policy_gmacs)
        if self.projection_bytes is not None:
            check_integer("projection_bytes", self.projection_bytes, 0)
        check_integer("seed", self.seed, 0)

    @property
    def action_kind(self) -> str:
        """Which set of actions it has, of ``envs.tasks.actions``; other tasks have their own."""
        return "patches"

    @property
    def look_price(self) -> Mapping[str, float] | None:
        """The price of a look in Eq. 10 by its unit, as `PlusConfig.penalty`; None for none."""
        return None

    @property
    def most_gmacs(self) -> float:
        """Most GMACs of an episode; infinite for no limit."""
        return math.inf


@dataclass(frozen=True)
class PlusConfig(EnvConfig):
    """The keywords of ``focusgym/AdaFocusPlus-v0``: those of AdaFocus, and three more.

    Attributes:
        action_set: ``pairs`` (where, and whether) or ``flat`` (skip is option K).
        penalty: Price of looking in Eq. 10: ``{"per_px2": λ}``, times P² (1e-6 in the paper), or
            ``{"per_gmac": price}``, times the GMACs of f_L on a patch.
        budget_gmacs: Most GMACs of an episode; None for no limit. A look that would leave too
            little for glancing at the frames that remain becomes a skip.

    Raises:
        ValueError: If a value is not among those that are allowed.

    Source: AdaFocus (arXiv:2105.03245) section 3.3; the flat set and the budget are ours.
    """

    action_set: str = "pairs"
    penalty: Mapping[str, float] = field(default_factory=lambda: {"per_px2": 1e-6})
    budget_gmacs: float | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        super().__post_init__()
        check_one_of("action_set", self.action_set, ("pairs", "flat"))
        if not isinstance(self.penalty, Mapping) or list(self.penalty) not in (
            ["per_px2"],
            ["per_gmac"],
        ):
            raise ValueError(
                f"penalty must be {{'per_px2': number}} or {{'per_gmac': number}}; got "
                f"{self.penalty!r}"
            )
        for name, price in self.penalty.items():
            check_number(f"penalty {name}", price)
        if self.budget_gmacs is not None:
            check_number("budget_gmacs", self.budget_gmacs)

    @property
    def action_kind(self) -> str:
        """``pairs`` or ``flat``."""
        return self.action_set

    @property
    def look_price(self) -> Mapping[str, float]:
        """The penalty."""
        return self.penalty

    @property
    def most_gmacs(self) -> float:
        """The budget."""
        return math.inf if self.budget_gmacs is None else self.budget_gmacs


ConfigT = TypeVar("ConfigT", bound=EnvConfig)


def make_config(config_class: type[ConfigT], keywords: Mapping[str, Any]) -> ConfigT:
    """Build a config from an environment's keywords.

    Raises:
        TypeError: If a keyword is unknown, or ``cache`` or ``classifier`` is missing.
        ValueError: If a value is not among those that are allowed.
    """
    known = [each.name for each in fields(config_class)]
    unknown = sorted(set(keywords) - set(known))
    missing = [name for name in ("cache", "classifier") if keywords.get(name) is None]
    # In Python's own words: torchrl looks for them, to take back a keyword that it added.
    problems = [f"got an unexpected keyword argument {name!r}" for name in unknown]
    problems += [f"missing the keyword argument {name!r}" for name in missing]
    if problems:
        plus = [each.name for each in fields(PlusConfig) if each.name in unknown]
        hint = f" ({', '.join(plus)}: only of focusgym/AdaFocusPlus-v0)" if plus else ""
        raise TypeError(f"{'; '.join(problems)}: expected {', '.join(known)}{hint}")
    return config_class(**keywords)


def check_integer(name: str, value: Any, least: int) -> None:
    """Check a number.

    Raises:
        ValueError: If it is no integer, or too small.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < least:
        raise ValueError(f"{name} must be an integer of at least {least}; got {value!r}")


def check_number(name: str, value: Any) -> None:
    """Check a number.

    Raises:
        ValueError: If it is not finite, or negative.
    """
    if not is_finite(value) or value < 0:
        raise ValueError(f"{name} must be a finite number of at least 0; got {value!r}")


def check_one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Check a word.

    Raises:
        ValueError: If it is not among those that are allowed.
    """
    if value not in allowed:
        raise ValueError(f"{name} must be {' or '.join(map(repr, allowed))}; got {value!r}")
