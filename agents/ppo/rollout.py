"""What a rollout of whole episodes leaves behind, and who plays them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor

from ...envs.core import Player
from ...recognizer import Purpose, generator
from .gru_policy import KEEP, LOCATION
from .objective import Track, draw

# Logits and values of each learner; what a step, or a rollout, gave by name.
Heads = dict[str, tuple[Tensor, Tensor]]
Columns = dict[str, NDArray[Any]]
_ACTIONS = {LOCATION: Purpose.LOCATION_ACTIONS, KEEP: Purpose.KEEP_ACTIONS}


@dataclass
class Rollout:
    """One episode of each of N environments.

    Attributes:
        videos: ``(N,)`` rows of the cache.
        tracks: What each learner did, by its name.
        heads: Logits ``(N, T, actions)`` and values ``(N, T)`` of each learner, with their graph;
            empty where the update computes them anew.
        versions: Of the weights that gave ``heads``.
    """

    videos: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    tracks: dict[str, Track] = field(default_factory=dict)
    heads: Heads = field(default_factory=dict)
    versions: list[int] = field(default_factory=list)

    @property
    def nbytes(self) -> int:
        """Bytes that stay of it until the next one; ``heads`` are gone after the update."""
        tensors = [getattr(t, each.name) for t in self.tracks.values() for each in fields(t)]
        return int(self.videos.nbytes + sum(tensor.nbytes for tensor in tensors))


def players_of(env: VecEnv) -> list[Player]:
    """Return what plays the episodes of a VecEnv: one for all, or one for each environment.

    Raises:
        ValueError: If it is not made of focusgym's environments, or they are in other processes.
    """
    try:
        players = env.get_attr("player")
    except AttributeError:
        players = []
    if not players or not all(isinstance(player, Player) for player in players):
        raise ValueError(
            "expected environments of focusgym, such as make_sb3('focusgym/AdaFocus-v0', 64, "
            f"observation='index', ...); got {env}"
        )
    # From another process comes a copy, and another one each time.
    if any(one is not other for one, other in zip(players, env.get_attr("player"), strict=True)):
        raise ValueError(
            f"expected environments in this process, where their price can be changed; got {env}: "
            "use make_sb3, which is faster than processes, or DummyVecEnv"
        )
    return list({id(player): player for player in players}.values())


def checked_players(env: VecEnv, normalized: bool) -> list[Player]:
    """Return the players of environments that FocusPPO can train on.

    Args:
        env: The environments.
        normalized: Whether they are wrapped in ``VecNormalize``.

    Raises:
        ValueError: If they are not focusgym's, or of another task, their observations are not as
            they come, or they play several caches or options, or the same episodes.
    """
    players = players_of(env)
    for player in players:
        if not player.task.in_one_pass:
            raise ValueError(
                "FocusPPO draws the actions of whole episodes at once, for frames that come in "
                f"order, as those of focusgym/AdaFocus-v0 do; got a {type(player.task).__name__}: "
                "train it with PPO of Stable-Baselines3"
            )
    observation = players[0].config.observation
    if observation != "index" or normalized:
        raise ValueError(
            "FocusPPO reads glance maps itself: make the environments with observation='index' and "
            f"without VecNormalize; got observation={observation!r}, VecNormalize: {normalized}"
        )
    for player in players:
        (cache, allowed), (other, others) = _plays(players[0]), _plays(player)
        if (cache, allowed) != (other, others):
            raise ValueError(
                "expected environments on one cache with the same options_allowed; got "
                f"{cache} with {allowed}, and {other} with {others}"
            )
    places = {(*p.episodes.first.tolist(), p.episodes.stride) for p in players}
    if len(places) < len(players):
        raise ValueError(
            f"expected environments that play different episodes; got {len(players)} of which "
            f"{len(places)} differ: use make_sb3, or give environment i of N first_episode=i and "
            "episode_stride=N"
        )
    return players


def stand_at(players: list[Player], observations: Any) -> bool:
    """Say whether the episodes of last observations are still about to begin."""
    videos = np.concatenate([player.episodes.videos for player in players])
    begun = any(player.t.any() for player in players)
    return not begun and np.array_equal(observations["video"][:, 0], videos)


def minibatches(n_episodes: int, size: int, key: Sequence[int]) -> list[Tensor]:
    """Return the episodes of each minibatch, in an order keyed by (seed, rollout, pass).

    Where there is just one minibatch, the order stays.
    """
    if size >= n_episodes:
        return [torch.arange(n_episodes)]
    order = generator(Purpose.EPISODE_ORDER, *key).permutation(n_episodes)
    return list(torch.from_numpy(order).split(size))


def allowed_options_of(player: Player) -> list[int] | None:
    """Return the options that a player's episodes allow, in order; None for all."""
    allowed = player.config.options_allowed
    return None if allowed is None else sorted({int(option) for option in allowed})


def draw_actions(heads: Heads, seed: int, rollout: int) -> dict[str, Tensor]:
    """Draw the actions ``(N, T)`` of each learner, on CPU, keyed by (seed, learner, rollout)."""
    drawn = {}
    for name, (logits, _) in heads.items():
        rng = generator(_ACTIONS[name], seed, rollout)
        drawn[name] = draw(logits, torch.from_numpy(rng.random(logits.shape[:2])))
    return drawn


def joint_actions(drawn: dict[str, Tensor], *, pairs: bool) -> NDArray[np.int64]:
    """Return what the environments take, ``(N, T)``, or ``(N, T, 2)`` where π′ may say skip.

    Before π′ joins, every frame is looked at.
    """
    location: NDArray[np.int64] = drawn[LOCATION].numpy()
    if not pairs:
        return location
    keep = drawn[KEEP].numpy() if KEEP in drawn else np.ones_like(location)
    return np.stack([location, keep], axis=-1)


def step_columns(rewards: NDArray[Any], infos: list[dict[str, Any]]) -> Columns:
    """Return each learner's rewards of a step, ``(N,)``, and where f_L ran."""
    if "attended" not in infos[0]:
        return {LOCATION: rewards}
    names = {LOCATION: "reward_location", KEEP: "reward_skip", "attended": "attended"}
    return {name: np.array([info[key] for info in infos]) for name, key in names.items()}


def check_step(
    videos: NDArray[np.int64], observations: Any, dones: NDArray[np.bool_], step: int, n_steps: int
) -> None:
    """Check that the episodes go on as they began.

    Raises:
        RuntimeError: If another video is played, or one ends before the others.
    """
    last = step == n_steps - 1
    same = last or np.array_equal(observations["video"][:, 0], videos)
    if not same or not (dones == last).all():
        raise RuntimeError(
            f"expected all episodes to end after {n_steps} decisions; at decision {step + 1} "
            f"{int(dones.sum())} of {len(dones)} had ended"
            f"{'' if same else ', and other videos are played'}: nothing else may step the "
            "environments"
        )


def _plays(player: Player) -> tuple[str, list[int] | None]:
    return player.cache.fingerprint, allowed_options_of(player)
