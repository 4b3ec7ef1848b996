"""A task of somebody's own, with an id."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray

from focusgym.envs import Decision, OneOptionConfig, PricedTask, Timeline, register_task


@dataclass(frozen=True)
class SkimConfig(OneOptionConfig):
    """Its keywords.

    Attributes:
        backwards: Whether the last segment comes first.
    """

    task: ClassVar[str] = "own_tasks:SkimTask"

    backwards: bool = False


class SkimTask(PricedTask[SkimConfig, NDArray[np.bool_]]):
    """Read the next segment (1), or leave it out (0)."""

    @property
    def space(self) -> spaces.Space[Any]:
        return spaces.Discrete(2)

    def make_timeline(self) -> Timeline:
        order = np.arange(self.engine.cache.steps)
        return Timeline.given_order(order[::-1] if self.config.backwards else order, len(order))

    def masks(self) -> NDArray[np.bool_]:
        return np.ones((len(self.t), 2), dtype=bool)

    def read(self, actions: ArrayLike) -> NDArray[np.bool_]:
        return np.asarray(actions) == 1

    def decide(self, choice: NDArray[np.bool_], episodes: Any) -> Decision:
        options = np.full(len(choice), self.config.option)
        return self.take(self.upcoming(), options, choice, info={})


register_task("own/Skim-v0", SkimConfig)
