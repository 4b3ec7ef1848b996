"""What the faces of the environment share: N episodes in order, costs, rewards, observations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from ..recognizer import weights_digest
from .config import EnvConfig
from .engine.engine import FocusEngine
from .engine.source import open_source
from .episodes.order import Episodes
from .episodes.rows import put_rows, rows_of
from .episodes.selection import chosen_video, videos_to_play
from .records.history import History
from .records.outcome import Columns, Outcome
from .records.record import EpisodeRecord
from .rewards.designs import stored_reward
from .tasks.make import make_task
from .tasks.observations import observation_space, observe
from .tasks.prices import Prices
from .tasks.task import Decision, Look


class Player:
    """N episodes: begins them, steps them, observes; the faces only translate.

    Attributes:
        config: Task, cache, classifier and reward of the environments.
        cache: The feature cache.
        n_envs: N.
        observation_space: Space of the observations of one environment.
        action_space: Space of the actions of one environment.
        task: What an action means, and when an episode ends.
        episodes: Which episodes are being played.
        running: ``(N,)`` bool, whether an episode has begun and is not over.
        looks: What became of the segments that the last decision was about; none before any.
    """

    def __init__(self, config: EnvConfig, first: NDArray[np.int64], stride: int) -> None:
        """Open cache and classifier.

        Args:
            config: Task, cache, classifier and reward of the environments.
            first: ``(N,)`` first episode of each environment.
            stride: Episodes from one to the next of an environment.

        Raises:
            CacheError: If the cache cannot be opened or has no such split.
            BundleError: If the classifier cannot be read or belongs to another cache.
            ValueError: If the reward is unknown or does not work, videos or options are not there,
                or the budget does not even pay for glances.
        """
        source = open_source(config)
        self.config = config
        self.cache = source.cache
        self.n_envs = len(first)
        engine = FocusEngine(source, config.labels)
        self.task = make_task(config, engine, source.frame_cost, self.n_envs)
        self._engine = engine
        self.action_space = self.task.space
        self.observation_space = observation_space(config.observation, engine)
        n_decisions = self.task.timeline.n_decisions
        self._history = History(
            self.cache, self.n_envs, n_decisions, first_label=config.labels == "first"
        )
        self.episodes = Episodes(
            videos_to_play(self.cache, config),
            self.task.design.draws or 0,
            n_decisions,
            np.flatnonzero(self.task.allowed),
            first,
            stride,
            config.seed,
            shuffled=config.order == "shuffled",
        )
        self.running = np.zeros(self.n_envs, dtype=bool)
        self.looks: tuple[Look, ...] = ()
        self._returns = np.zeros(self.n_envs)

    @property
    def t(self) -> NDArray[np.int64]:
        """``(N,)`` index of the decision to be made next; D when an episode is over."""
        return self.task.t

    @property
    def gmacs(self) -> NDArray[np.float64]:
        """``(N,)`` cost of the episodes so far: all networks, and the agent's own."""
        return self.task.gmacs

    @property
    def prices(self) -> Prices:
        """What segments and looks cost."""
        return self.task.prices

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
        self.task.prices = replace(self.task.prices, penalty=penalty)

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

    def rows(self) -> dict[str, Tensor]:
        """Return where the running episodes stand, as tensors of N rows each; see `go_on`."""
        tensors: dict[str, Tensor] = {}
        for name, holder in self._holders().items():
            rows = rows_of(holder, self.n_envs)
            tensors |= {f"{name}.{key}": value for key, value in rows.items()}
        return tensors

    def go_on(self, position: Mapping[str, Any], rows: Mapping[str, Tensor]) -> None:
        """Stand where another player stood, in the middle of its episodes.

        Later decisions are then what they would have been there, bit for bit. Records and pictures
        begin with the next decision.

        Args:
            position: Of the other player; its episodes were all in turn, none a chosen one.
            rows: Its `rows`.

        Raises:
            ValueError: If they are those of another task, of another number of environments or of
                other videos than the position's, or no episode can stand there.
        """
        self.go_to(position)
        self.start()
        expected, steps = self.rows(), self.cache.steps
        for name in dict.fromkeys((*expected, *rows)):
            kinds = [
                f"{each[name].dtype} of shape {tuple(each[name].shape)}" if name in each else "none"
                for each in (expected, rows)
            ]
            if kinds[0] != kinds[1]:
                raise ValueError(
                    f"{name}: expected {kinds[0]}; got {kinds[1]}: make the environments as they "
                    "were"
                )
            endless = rows[name].isinf() & ~expected[name].isinf().any()  # a maximum begins at -∞
            if (rows[name].isnan() | endless).any():
                raise ValueError(f"{name}: expected finite numbers; got {rows[name].tolist()}")
        for name in ("engine.videos", "engine.labels"):
            if not torch.equal(rows[name], expected[name]):
                raise ValueError(
                    f"{name}: expected those of the position, {expected[name].tolist()}; got "
                    f"{rows[name].tolist()}"
                )
        timeline = self.task.timeline
        most = {
            "task.t": timeline.n_decisions,
            "task.place": len(timeline.order) - 1 + max((1, *timeline.skips)),  # behind the end
            "engine.step": steps,
        }
        for name, largest in most.items():
            _check_range(name, rows[name].numpy(), largest)
        for name, holder in self._holders().items():
            prefix = f"{name}."
            own = {k.removeprefix(prefix): v for k, v in rows.items() if k.startswith(prefix)}
            put_rows(holder, own)

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
        self.task.begin(which)
        self._history.begin(which)
        self.running = self.running | which
        self._returns = np.where(which, 0.0, self._returns)

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
        choice = self.task.read(actions)
        if not self.running.all():
            waiting = np.flatnonzero(~self.running).tolist()
            raise RuntimeError(
                f"no episode is running in environment(s) {waiting}: call reset() before step()"
            )
        self.running = np.zeros_like(self.running)  # should anything below fail
        decision = self.task.decide(choice, self.episodes)
        self.looks = decision.looks
        rewards: NDArray[np.float32] = _numpy(decision.rewards).astype(np.float32)
        self._returns = self._returns + rewards
        done = decision.over
        self.running = ~done
        ends = {"episode_return": self._returns, "episode_length": self.t} if done.any() else {}
        state: Columns = {**self.videos_info(), "gmacs": self.gmacs, **ends}
        outcome = Outcome(rewards, done, partial(self._describe, decision, state))
        self._history.add(decision, outcome)
        return outcome

    def observe(self) -> Any:
        """Return the N observations; after the last decision, the last ones again.

        Raises:
            CacheError: If a glance map is not finite.
        """
        return observe(self.task)

    def action_masks(self) -> NDArray[np.bool_]:
        """Return which actions are possible now, ``(N, number of actions)``.

        Raises:
            RuntimeError: If no episode was begun, or actions are numbers and have no masks.
        """
        self._check_begun()
        return self.task.masks()

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

    def _describe(self, decision: Decision, state: Columns) -> Columns:
        """Return the info columns of a decision, from what was known then."""
        look = decision.looks[-1]
        predicted = _numpy(look.logits.argmax(dim=1))
        if self.config.labels == "first":
            correct = predicted == state["label"]
        else:
            correct = self.cache.label_matrix.numpy()[state["video_id"], predicted]
        info = {
            **state,
            "confidence": _numpy(look.confidence).astype(np.float64),
            "correct": correct,
            "box_px": look.boxes_of(self.cache.boxes_px),
        }
        for name, values in decision.info.items():
            info[name] = values if isinstance(values, np.ndarray) else _float64(values)
        return info

    def _holders(self) -> dict[str, object]:
        """Return what holds a row for each environment that its decisions change."""
        return {"player": self, "task": self.task, "engine": self._engine}

    def _check_begun(self) -> None:
        if not len(self._engine.videos):
            raise RuntimeError("no episode was begun: call reset() first")


def _check_range(name: str, values: NDArray[Any], most: int) -> None:
    if not ((values >= 0) & (values <= most)).all():
        raise ValueError(f"{name}: expected numbers in [0, {most}]; got {values.tolist()}")


def _numpy(values: Any) -> NDArray[Any]:
    array: NDArray[Any] = values.detach().cpu().numpy()
    return array


def _float64(values: Tensor) -> NDArray[np.float64]:
    return _numpy(values).astype(np.float64)
