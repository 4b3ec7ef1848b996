"""Two policies of a feature cache, or one beside random patches."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...envs import make_design
from ...envs.rewards.checks import check_design
from ...feature_cache import FeatureCache, read_view
from ...recognizer import Cost, shortened
from ..configs.replay import Kind, ReplayConfig
from ..evaluation.trace import Played, play
from ..evaluation.trained import Trained, usual_boxes
from ..options.devices import device_of
from ..options.parse import UsageError, reward_of, usage
from .contract import Footage, Shot
from .episodes import RANDOM, Episode, Looker, decide, summed_regrets, watch
from .gaze import Decided
from .looks import random_path_px
from .names import told_apart
from .rows import rows_of


@dataclass(frozen=True, eq=False)
class CachedPair:
    """Two policies on one option group of one cache; see `Pair`.

    Attributes:
        lookers: The policies.
        footage: The videos of the cache.
        rows: ``(B,)``, those of the split first.
        n_split: How many these are.
        reward: A reward design by name or with parameters, which works with these policies.
        reward_text: The same, as it was asked for.
        seed: Of the reward's draws.
    """

    lookers: tuple[Looker, Looker]
    footage: Footage
    rows: NDArray[np.int64]
    n_split: int
    reward: str | Mapping[str, Any]
    reward_text: str
    seed: int

    @classmethod
    def find(cls, config: ReplayConfig) -> CachedPair:
        """Open what is asked for; see `replay` for what this raises."""
        reward = reward_of(config.reward)
        with usage():
            design = make_design(reward)
        lookers = _lookers(config)
        cache = lookers[0].trained.cache
        with usage():
            several = lookers[0].labels == "mean"
            check_design(design, reward, 1, cache.n_classes, several_labels=several)
        footage, split = cached_footage(cache), cache.split(config.split)
        rows = rows_of(config.videos, footage, split)
        return cls(lookers, footage, rows, len(split), reward, config.reward, config.seed)

    @property
    def _cache(self) -> FeatureCache:
        return self.lookers[0].trained.cache

    @cached_property
    def _decided(self) -> list[Decided]:
        return [decide(looker, self.rows) for looker in self.lookers]

    @property
    def several_labels(self) -> bool:
        """Whether videos may have several labels."""
        return self.lookers[0].labels == "mean"

    @property
    def policies(self) -> list[dict[str, Any]]:
        """Name and kind of each; ρ, and the price of a look, where it has π′."""
        return [
            {
                "name": looker.name,
                "folder": looker.trained.name if looker.policy else None,
                "about": f"{looker.name} is the policy in {looker.trained.name}"
                if looker.policy
                else None,
                "learned": looker.policy is not None,
                "threshold": looker.policy.config.threshold if looker.policy else None,
                "price": str(looker.price) if looker.can_skip else None,
            }
            for looker in self.lookers
        ]

    @property
    def facts(self) -> dict[str, Any]:
        """The cache, its options, and the reward."""
        cache = self._cache
        return {
            "reward": self.reward_text,
            "cache": cache.fingerprint,
            "patch_px": cache.places.side_px,
            "grid": math.isqrt(cache.n_options),
            "boxes_px": cache.boxes_px.tolist(),
            "absent": None,
            "approximate": None,
        }

    @property
    def lacks(self) -> dict[Kind, str]:
        """Without π′ nothing is skipped."""
        first = self.lookers[0]
        return {} if first.can_skip else {"skipped": f"{first.name} has no π′: it skips no frames"}

    @cached_property
    def played(self) -> list[Played]:
        """What each did in the split: random patches are drawn as if there were no other videos."""
        split = self.rows[: self.n_split]
        return [play(each.engine, each.agent, split, each.cost)[0] for each in self.lookers]

    @property
    def gazes(self) -> list[Decided]:
        """What was decided in the split."""
        return [each.rows(np.arange(self.n_split)) for each in self._decided]

    @property
    def costs(self) -> list[Cost]:
        """What a video costs on average, by network."""
        return [
            looker.cost.of_video(
                self._cache.steps, policy=looker.agent.runs_policy, kept_share=came.kept_share
            )
            for looker, came in zip(self.lookers, self.played, strict=True)
        ]

    @property
    def random_path_px(self) -> float:
        """How far patches that are drawn uniformly are from each other."""
        return random_path_px(self._cache.boxes_px)

    def regrets(self) -> NDArray[np.float32]:
        """Return the summed regrets of the first in the split."""
        return summed_regrets(self.lookers[0], self.rows[: self.n_split], self.gazes[0])

    def episodes(self, positions: NDArray[np.int64]) -> Sequence[Sequence[Episode]]:
        """Play some of the videos in the environment, with everything that could have been done."""
        return [
            watch(looker, self.rows[positions], each.rows(positions), self.reward, self.seed)
            for looker, each in zip(self.lookers, self._decided, strict=True)
        ]


def _lookers(config: ReplayConfig) -> tuple[Looker, Looker]:
    device = device_of(config.device)
    known = (config.cache, config.classifier, config.videos_root)
    first = Looker.find(config.policy, *known, device=device)
    trained = first.trained
    if config.second is None:
        return first, Looker(RANDOM, trained, random_seed=config.seed)
    second = Looker.find(config.second, *known, device=device)
    other = second.trained
    if other.cache.fingerprint != trained.cache.fingerprint:
        raise UsageError(
            f"--second {config.second} is for {_features(other)}, expected "
            f"{_features(trained)}, as {config.policy} is: give a policy that was trained on the "
            "same option group of the same cache"
        )
    return told_apart((first, second), (config.policy, config.second))


def _features(trained: Trained) -> str:
    cache = trained.cache
    known_by = shortened(cache.fingerprint)
    return f"option group {cache.group.name} of {cache.root} (fingerprint {known_by})"


def cached_footage(cache: FeatureCache) -> Footage:
    """Return the videos of a cache."""

    def read(row: int) -> Shot:
        (clip,) = cache.clips(np.array([row]))
        view, frames = cache.view(row), cache.frames
        pixels = frames.middle(read_view(clip, frames, view))
        return Shot(pixels, frames.middle(view.frame_indices))

    where = str(cache.root / "videos.csv")
    boxes = usual_boxes(cache)
    return Footage(cache.videos, cache.classes, cache.frames, "the cache", where, boxes, read)
