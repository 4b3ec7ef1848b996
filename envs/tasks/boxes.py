"""Boxes at any place: where to look in every frame, as two numbers instead of an option."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray

from ...recognizer import Boxes
from ..config import EnvConfig
from ..engine.engine import FocusEngine
from ..engine.interpolated import grid_of, nearest_options
from ..episodes.order import Episodes
from .actions import checked_numbers
from .prices import Prices
from .task import Decision, Look, Task
from .timelines import Timeline


@dataclass(frozen=True)
class BoxesConfig(EnvConfig):
    """The keywords of ``focusgym/Boxes-v0``: those of `EnvConfig`."""

    task: ClassVar[str] = "focusgym.envs.tasks.boxes:BoxesTask"


class BoxesTask(Task[BoxesConfig, NDArray[np.float32]]):
    """Where to look in every frame of a video, at any place. ``focusgym/Boxes-v0``.

    The segments come in order, and f_C is fed all of them. The cache has the features of an n×n
    grid of patches; those of a box between them are interpolated from the four nearest patches,
    which is approximate: on pixels (`TaskRecognizer`) the box is cut out where it is.

    ## Action space
    ``Box(0, 1, (2,))``: the centre (x, y) of the box, from where it touches the left or upper edge
    of the frame, 0, to where it touches the other one, 1; see `Boxes`.

    ## Reward
    As of ``focusgym/AdaFocus-v0``: by default the confidence on the true label less that after
    looking at a random option of the grid instead (Eq. 7). Where a design asks for the option, it
    is the one that is nearest to the box.

    Source: AdaFocusV2 (arXiv:2112.14238) section 3.2: centres anywhere. As RL it is ours, and the
        released AdaFocus code's on Something-Something, with one decision for a video.
    """

    compares: ClassVar[bool] = True

    def __init__(
        self,
        config: BoxesConfig,
        engine: FocusEngine,
        prices: Prices,
        allowed: NDArray[np.bool_],
        n_envs: int,
    ) -> None:
        """Set up N episodes; see `Task`.

        Raises:
            ValueError: If the options are not one grid of patches, or some are not allowed.
        """
        super().__init__(config, engine, prices, allowed, n_envs)
        if not allowed.all():
            raise ValueError(
                "a box may be anywhere: leave options_allowed out, or play focusgym/AdaFocus-v0"
            )
        self._grid = grid_of(engine.cache)
        self._boxes = Boxes(self._grid.frame_px, self._grid.patch_px)

    @property
    def space(self) -> spaces.Space[Any]:
        """The centre of a box."""
        return spaces.Box(0.0, 1.0, (2,), np.float32)

    def make_timeline(self) -> Timeline:
        """Return the segments in order."""
        return Timeline.in_order(self.engine.cache.steps)

    def read(self, actions: ArrayLike) -> NDArray[np.float32]:
        """Return the centres ``(N, 2)``."""
        return checked_centers(actions, len(self.t))

    def decide(self, choice: NDArray[np.float32], episodes: Episodes) -> Decision:
        """Look in the next frame of every episode."""
        segments, draws = self.upcoming(), self.design.draws
        previous = self.engine.confidence
        looks = np.ones(len(segments), dtype=bool)
        options = nearest_options(self._grid, choice)
        self.pay(self.prices.of_segment(options, looks))
        random = None
        if draws is None:
            random = self.engine.counterfactuals(segments).options
        elif draws:
            drawn = episodes.draws(self.t)
            random = self.engine.try_options(segments, drawn).confidences
        unseen = None
        if self.rewarded and self.design.compares_skip:
            none = np.zeros((len(segments), 1), dtype=np.int64)
            unseen = self.engine.try_options(segments, none, none > 0).confidences[:, 0]
        tried = self.engine.try_boxes(segments, torch.from_numpy(choice)[:, None])
        self.engine.commit(tried)
        self.seen[np.arange(len(segments)), segments] = True
        self.move_on()
        last = self.timeline.is_over(self.place, self.t)
        rewards = self.reward(
            chosen=tried.confidences[:, 0].clone(),
            previous=previous,
            logits=tried.logits[:, 0],
            options=options,
            named=looks,
            last=last,
            random=random,
            skip=unseen,
        )
        boxes_px = self._boxes.boxes_at(torch.from_numpy(choice)).numpy()
        taken = (segments, options, looks, looks, looks)
        look = Look(*taken, self.engine.logits, self.engine.confidence, self.gmacs, boxes_px)
        return Decision((look,), rewards, last)


def checked_centers(actions: ArrayLike, n_envs: int) -> NDArray[np.float32]:
    """Return actions as centres ``(N, 2)`` in [0, 1].

    Raises:
        ValueError: If they are not N centres in [0, 1].
    """
    centers = checked_numbers(actions, (n_envs, 2), "centres (x, y) of boxes")
    if not ((centers >= 0) & (centers <= 1)).all():
        raise ValueError(
            f"centres of boxes must be in [0, 1]; got {centers.tolist()}: clip them first"
        )
    return centers.astype(np.float32)
