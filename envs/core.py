"""What the faces of the environment share: N episodes in order, costs, rewards, observations."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from ..feature_cache import CacheError
from ..recognizer import weights_digest
from .config import EnvConfig
from .engine.engine import FocusEngine, Step
from .engine.source import open_source
from .episodes.history import History
from .episodes.order import Episodes
from .episodes.outcome import Columns, Outcome
from .episodes.selection import allowed_options, chosen_video, videos_to_play
from .records.record import EpisodeRecord
from .rewards.checks import check_design, check_rewards
from .rewards.designs import Confidences, make_design, stored_reward
from .rewards.functions import skip_gain
from .tasks.actions import Choice, action_set
from .tasks.prices import Prices


class Player:
    """N episodes: begins them, steps them, observes; the faces only translate.

    Attributes:
        config: What is played.
        cache: The feature cache.
        n_envs: N.
        observation_space: Of one environment.
        actions: The action set of one environment.
        episodes: Which episodes are being played.
        running: ``(N,)`` bool, whether an episode has begun and is not over.
        gmacs: ``(N,)`` cost of the episodes so far: f_G, f_C and the agent's own for every frame
            seen, f_L for every look.
    """

    def __init__(self, config: EnvConfig, first: NDArray[np.int64], stride: int) -> None:
        """Open cache and classifier.

        Args:
            config: What to play.
            first: ``(N,)`` first episode of each environment.
            stride: Episodes from one to the next of an environment.

        Raises:
            CacheError: If the cache cannot be opened or has no such split.
            BundleError: If the classifier cannot be read or belongs to another cache.
            ValueError: If the reward is unknown or does not work, videos or options are not there,
                or the budget does not even pay for glances.
        """
        self._design = make_design(config.reward)
        source = open_source(config)
        self.config = config
        self.cache = source.cache
        check_design(
            self._design,
            config.reward,
            len(first),
            self.cache.n_classes,
            several_labels=config.labels == "mean",
            device=self.cache.device,
        )
        self._engine = FocusEngine(source, config.labels)
        self.n_envs = len(first)
        allowed = allowed_options(config.options_allowed, self.cache.n_options)
        self._allowed = np.flatnonzero(allowed)
        self.actions = action_set(config, allowed)
        self.observation_space = self._make_observation_space()
        side_px = self.cache.places.side_px
        self._prices = Prices.of(config, source.frame_cost, self.cache.steps, side_px)
        self._boxes_px = np.append(self.cache.boxes_px, np.zeros((1, 4), np.int64), axis=0)
        self._history = History(self.cache, self.n_envs)
        self.episodes = Episodes(
            videos_to_play(self.cache, config),
            self._design.draws or 0,
            self.cache.steps,
            self._allowed,
            first,
            stride,
            config.seed,
            shuffled=config.order == "shuffled",
        )
        self.running = np.zeros(self.n_envs, dtype=bool)
        self.gmacs = np.zeros(self.n_envs)
        self._returns = np.zeros(self.n_envs)
        self._previous = torch.zeros(self.n_envs, device=self.cache.device)

    @property
    def t(self) -> NDArray[np.int64]:
        """``(N,)`` index of the decision to be made next; T when an episode is over."""
        return self._engine.t

    @property
    def prices(self) -> Prices:
        """What frames and looks cost."""
        return self._prices

    def description(self) -> dict[str, Any]:
        """Return what decides every episode but where the files are, as JSON-able values.

        Raises:
            ValueError: If the reward is a Python object, which cannot be stored.
        """
        named = replace(self.config, reward=stored_reward(self.config.reward))
        return {
            **{
                name: value
                for name, value in asdict(named).items()
                if name not in ("cache", "classifier", "projection_bytes", "videos_root")
            },
            "cache": self.cache.fingerprint,
            "classifier": weights_digest(self._engine.source.classifier),
            "n_envs": self.n_envs,
            "first_episodes": self.episodes.first.tolist(),
            "episode_stride": self.episodes.stride,
        }

    def set_penalty(self, penalty: float) -> None:
        """Change what Eq. 10 takes off the reward for a look, from the next decision on."""
        self._prices = replace(self._prices, penalty=penalty)

    def position(self, *, begun: bool = True) -> dict[str, Any]:
        """Return which episodes of which order are being played, as JSON-able values.

        Args:
            begun: False returns those that the next `start` begins instead.
        """
        ahead = 0 if begun else self.episodes.stride
        return {
            "seed": int(self.episodes.seed),
            "episodes": (self.episodes.episodes + ahead).tolist(),
            "n_chosen": self.episodes.n_chosen.tolist(),
        }

    def go_to(self, position: Mapping[str, Any]) -> None:
        """Make the next `start` begin the episodes of a position.

        Raises:
            ValueError: If it is that of another number of environments.
        """
        if len(position["episodes"]) != self.n_envs:
            raise ValueError(
                f"expected the position of {self.n_envs} environments; got that of "
                f"{len(position['episodes'])}: make as many as there were"
            )
        episodes, n_chosen = (
            np.array(position[name], dtype=np.int64) for name in ("episodes", "n_chosen")
        )
        self.episodes.restart(position["seed"], episodes, n_chosen)

    def start(
        self,
        which: NDArray[np.bool_] | None = None,
        chosen: Sequence[int | None] | None = None,
        seed: int | None = None,
    ) -> None:
        """Begin an episode in some environments.

        Args:
            which: ``(N,)`` environments; None for all.
            chosen: N rows of the cache to play out of turn; None for the next in turn.
            seed: Seed of a new order, whose first episodes are begun.

        Raises:
            ValueError: If a chosen video is not in the cache or was skipped when it was built, if
                there are not N of them, or if a seed is given for some environments only.
        """
        which = np.ones(self.n_envs, dtype=bool) if which is None else which
        if chosen is not None and len(chosen) != self.n_envs:
            raise ValueError(
                f"expected a chosen video, or None, for each of {self.n_envs} environments; got "
                f"{len(chosen)}"
            )
        picks = [None if row is None else chosen_video(self.cache, row) for row in chosen or ()]
        if seed is not None:
            if not which.all():
                raise ValueError(
                    "a seed fixes the order of all environments together: give it when all of them "
                    "are reset, without reset_mask"
                )
            self.episodes.restart(seed)
        first = len(self._engine.videos) == 0
        if first and not which.all():
            raise ValueError("the first reset has to begin all environments: leave reset_mask out")
        picked = np.array([row is not None for row in picks] or [False] * self.n_envs)
        self.episodes.advance(which & ~picked)
        for env, row in enumerate(picks):
            if which[env] and row is not None:
                self.episodes.choose(env, row)
        self.running = self.running & ~which  # should reading the videos fail
        self._engine.start(self.episodes.videos, None if first or which.all() else which)
        self._history.begin(which)
        self.running = self.running | which
        self.gmacs = np.where(which, 0.0, self.gmacs)
        self._returns = np.where(which, 0.0, self._returns)
        begins = torch.from_numpy(which).to(self.cache.device)
        self._previous = self._previous.masked_fill(begins, 0.0)

    @torch.no_grad()
    def step(self, actions: ArrayLike) -> Outcome:
        """Make one decision in every environment.

        Args:
            actions: N actions of the action space.

        Raises:
            ValueError: If an action is not in the action space or not allowed.
            RuntimeError: If an episode was not begun, or is over.
            CacheError: If features are not finite.
        """
        choice = self.actions.choose(actions, self.n_envs)
        if not self.running.all():
            waiting = np.flatnonzero(~self.running).tolist()
            raise RuntimeError(
                f"no episode is running in environment(s) {waiting}: call reset() before step()"
            )
        if self._prices.budget_gmacs < np.inf:
            choice = self.actions.without(choice, self._prices.affordable(self.gmacs, self.t))
        self.running = np.zeros_like(self.running)  # should anything below fail
        self.gmacs = self.gmacs + self._prices.spend(choice.looks)
        step, random = self._decide(choice)
        confidence = step.confidence.clone()  # a design may compute in place
        parts: dict[str, Tensor] = {}
        if self.actions.can_skip and step.skip is not None:
            looks = torch.from_numpy(choice.looks).to(confidence.device)
            parts["reward_skip"] = skip_gain(step.chosen, step.skip, looks, self._prices.penalty)
        total = self._design(self._confidences(choice, step, random))
        check_rewards(total, self.config.reward, self.n_envs)
        if parts:
            parts["reward_location"] = total
            total = total + parts["reward_skip"]
        rewards: NDArray[np.float32] = _numpy(total).astype(np.float32)
        self._previous = confidence
        self._returns = self._returns + rewards
        done = self.t == self.cache.steps
        self.running = ~done
        ends = {"episode_return": self._returns, "episode_length": self.t} if done.any() else {}
        state: Columns = {**self.videos_info(), "gmacs": self.gmacs, **ends}
        describe = partial(self._describe, choice, step.logits, confidence, parts, state)
        outcome = Outcome(rewards, done, describe)
        self._history.add(choice, outcome)
        return outcome

    def observe(self) -> Any:
        """Return the N observations; after the last decision, the last ones again.

        Raises:
            CacheError: If a glance map is not finite.
        """
        t = np.minimum(self.t, self.cache.steps - 1)
        videos = self._engine.videos
        if self.config.observation == "index":
            return {"video": videos[:, None].copy(), "t": t[:, None].copy()}
        maps = self.cache.glance_map(videos, t).flatten(1)
        if not math.isfinite(float(maps.sum())):
            row = int((~maps.isfinite().all(dim=1)).nonzero()[0])
            raise CacheError(
                f"video {videos[row]} ({self.cache.videos['name'][videos[row]]}), frame {t[row]}: "
                "the glance map holds NaN or infinite numbers: run `focusgym cache verify`, then "
                "build the cache again"
            )
        return maps.cpu().numpy()

    def action_masks(self) -> NDArray[np.bool_]:
        """Return which actions are possible now, ``(N, number of actions)``; see `ActionSet`.

        Raises:
            RuntimeError: If no episode was begun.
        """
        self._check_begun()
        return self.actions.masks(self._prices.affordable(self.gmacs, self.t))

    def record(self, env: int) -> EpisodeRecord:
        """Return the record of an environment's episode so far.

        Raises:
            RuntimeError: If no episode was begun.
        """
        self._check_begun()
        return self._history.record(env, int(self.episodes.videos[env]))

    def picture(self, env: int) -> NDArray[np.uint8]:
        """Draw where an environment's episode stands; ``(H, W, 3)``, see `draw_decision`.

        Raises:
            RuntimeError: If no episode was begun.
            VideoError: If the video is gone or cannot be read; the message names it.
        """
        return self._history.picture(self.record(env))

    def videos_info(self) -> Columns:
        """Return what is known of the videos before any decision: ``video_id`` and ``label``."""
        videos = self.episodes.videos.copy()
        return {"video_id": videos, "label": self.cache.labels.numpy()[videos]}

    def _decide(self, choice: Choice) -> tuple[Step, Tensor | None]:
        """Step the engine; returns what it gave, and what the design compares with."""
        draws = self._design.draws
        every = self._engine.counterfactuals()[:, self._allowed] if draws is None else None
        step = self._engine.step(
            choice.options,
            self.episodes.draws(self.t) if draws else None,
            skip=self.actions.can_skip or self._design.compares_skip,
            looks=choice.looks if self.actions.can_skip else None,
        )
        return step, step.random if draws else every

    def _confidences(self, choice: Choice, step: Step, random: Tensor | None) -> Confidences:
        """Return what the design gets, after the engine went on; it may change all of it."""
        device = self.cache.device
        return Confidences(
            chosen=step.chosen,
            previous=self._previous,
            gmacs=torch.from_numpy(self.gmacs.copy()),
            logits=step.chosen_logits.clone(),
            labels=self._engine.labels.clone(),
            options=torch.tensor(choice.options, device=device),
            step=torch.tensor(self.t - 1, device=device),
            last=torch.tensor(self.t == self.cache.steps, device=device),
            random=random,
            skip=step.skip,
        )

    def _describe(
        self,
        choice: Choice,
        logits: Tensor,
        confidence: Tensor,
        parts: dict[str, Tensor],
        state: Columns,
    ) -> Columns:
        """Return the info columns of a decision, from what was known then."""
        predicted = _numpy(logits.argmax(dim=1))
        if self.config.labels == "first":
            correct = predicted == state["label"]
        else:
            correct = self.cache.label_matrix.numpy()[state["video_id"], predicted]
        info = {
            **state,
            "confidence": _numpy(confidence).astype(np.float64),
            "correct": correct,
            "box_px": self._boxes_px[choice.options],
        }
        if parts:
            info["looked"] = choice.looks
            info |= {name: _numpy(part).astype(np.float64) for name, part in parts.items()}
        return info

    def _check_begun(self) -> None:
        if not len(self.t):
            raise RuntimeError("no episode was begun: call reset() first")

    def _make_observation_space(self) -> spaces.Space[Any]:
        if self.config.observation == "map":
            low, high = self.cache.manifest["glance_map_range"]
            return spaces.Box(low, high, (int(np.prod(self.cache.map_shape)),), np.float32)
        return spaces.Dict(
            {
                "video": spaces.Box(0, self.cache.n_videos - 1, (1,), np.int64),
                "t": spaces.Box(0, self.cache.steps - 1, (1,), np.int64),
            }
        )


def _numpy(values: Any) -> NDArray[Any]:
    array: NDArray[Any] = values.detach().cpu().numpy()
    return array
