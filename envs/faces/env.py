"""The Gymnasium face: one episode at a time."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from ..config import check_integer, make_config
from ..core import Player
from ..records.outcome import row_info, row_observation
from ..records.record import EpisodeRecord
from ..tasks.registry import config_class
from .spec import WithSpec


class FocusEnv(WithSpec, gymnasium.Env[Any, Any]):
    """One of this project's environments over a feature cache: ``focusgym/TASK-v0``.

    What an action means, and what is rewarded, is the task's: `AdaFocusTask`, `ExitTask`,
    `JumpTask`, `CubesTask`, `SubsetTask` and the like say it. What they share:

    ## Observation space
    ``map``: the glance map of the segment that the next decision is about, flat ``(h·w·G,)``
    float32, channels last. ``index``: ``{"video": (1,), "t": (1,)}`` int64, for policies that read
    the cache themselves. ``state`` and ``maps``: dictionaries of what the episode knows so far, see
    `observation_space`. After the last decision the last observation is repeated.

    ## Episodes
    One video, at most D decisions, then ``terminated``; ``truncated`` only where Gymnasium is given
    ``max_episode_steps``. Every video is played once before any is repeated; ``reset(seed=...)``
    begins a new order, and ``reset(options={"video": row})`` plays a chosen row of the cache out of
    turn. Environments that are made alike play alike: for several, use `gymnasium.make_vec`, or
    ``first_episode`` and ``episode_stride``.

    ## Info
    ``video_id`` (row of the cache) and ``label`` (the first). After a step also ``confidence`` on
    the true label, ``correct``, ``gmacs`` (cost so far) and ``box_px`` ``(4,)`` (left, top, right,
    bottom; zeros where no option was chosen). At the end also ``episode_return`` and
    ``episode_length``; Gymnasium's ``RecordEpisodeStatistics`` and Stable-Baselines3's ``Monitor``
    add ``episode``, which they want to find free.

    ``player`` holds the feature cache (``env.unwrapped.player.cache``).

    ## Rendering
    ``rgb_array``: the frame, read from its video, with the chosen box; see `draw_decision`.
    """

    metadata = {  # noqa: RUF012 (Gymnasium's declaration)
        "render_modes": ["rgb_array"],
        "render_fps": 2,
    }

    def __init__(
        self,
        *,
        task: str = "AdaFocus",
        first_episode: int = 0,
        episode_stride: int = 1,
        render_mode: str | None = None,
        **config: Any,
    ) -> None:
        """Open the environment; see `Player` for the errors.

        Args:
            task: Which environment: one of `TASKS`, or ``module:attribute`` of the class of a
                task's keywords.
            first_episode: First episode to play; with ``episode_stride`` N this is environment
                ``first_episode`` of a batch of N.
            episode_stride: Episodes from one to the next.
            render_mode: ``rgb_array``, or None.
            **config: The attributes of the task's keywords, such as `EnvConfig`: ``cache`` and
                ``classifier``, and what is to differ from its defaults.

        Raises:
            ValueError: If a value is out of range, or there is no such task.
            TypeError: If a keyword is unknown, or ``cache`` or ``classifier`` is missing.
        """
        check_integer("first_episode", first_episode, 0)
        check_integer("episode_stride", episode_stride, 1)
        self.render_mode = checked_render_mode(render_mode)
        self.player = Player(
            make_config(config_class(task), config), np.array([first_episode]), episode_stride
        )
        self.observation_space = self.player.observation_space
        self.action_space = self.player.action_space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin the next episode, that of a chosen video, or the first one of a seed's order.

        Args:
            seed: Seed of a new order.
            options: ``{"video": row}`` plays that row of the cache out of turn.

        Raises:
            ValueError: If the options are unknown, or there is no such video.
            CacheError: If features of the video are not finite.
        """
        super().reset(seed=seed)
        check_options(options, ("video",))
        self.player.start(chosen=[(options or {}).get("video")], seed=seed)
        return self._observe(), row_info(self.player.videos_info(), 0)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Make one decision; see `Player.step` for the errors."""
        single = np.asarray(action)
        if single.shape != self.action_space.shape:
            raise ValueError(
                f"expected one action of {self.action_space}; got shape {single.shape}: give "
                "action_space.sample() or the like"
            )
        outcome = self.player.step(single[None])
        info = row_info(outcome.info, 0)
        return self._observe(), float(outcome.rewards[0]), bool(outcome.done[0]), False, info

    def action_masks(self) -> NDArray[np.bool_]:
        """Return which actions are possible now, ``(number of actions,)``, for maskable agents.

        All are, unless ``options_allowed`` or a budget forbids some. Those of ``MultiDiscrete``
        actions stand one after the other, as sb3-contrib wants them.

        Raises:
            RuntimeError: If no episode was begun, or actions are numbers and have no masks.
        """
        mask: NDArray[np.bool_] = self.player.action_masks()[0]
        return mask

    def render(self) -> NDArray[np.uint8] | None:
        """Return the picture ``(H, W, 3)`` of the last decision; None without a render mode.

        Raises:
            RuntimeError: If no episode was begun.
            VideoError: If the video is gone or cannot be read; the message names it.
        """
        return self.player.picture(0) if self.render_mode else None

    def record(self) -> EpisodeRecord:
        """Return the record of the episode so far, which can be written and rendered later.

        Raises:
            RuntimeError: If no episode was begun.
        """
        return self.player.record(0)

    def _observe(self) -> Any:
        return row_observation(self.player.observe(), 0)


def checked_render_mode(render_mode: str | None) -> str | None:
    """Return a render mode that there is.

    Raises:
        ValueError: If there is no such mode.
    """
    if render_mode not in (None, "rgb_array"):
        raise ValueError(f"render_mode must be 'rgb_array' or None; got {render_mode!r}")
    return render_mode


def check_options(options: dict[str, Any] | None, known: tuple[str, ...]) -> None:
    """Check the names of a reset's options.

    Raises:
        ValueError: If one is unknown.
    """
    unknown = sorted(set(options or {}) - set(known))
    if unknown:
        raise ValueError(f"unknown reset option(s) {unknown}: expected {' or '.join(known)}")
