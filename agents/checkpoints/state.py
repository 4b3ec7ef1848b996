"""What of a training is in a checkpoint: taken from a model, checked, and put back."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from torch import Tensor

from ..ppo.focus_ppo import FocusPPO
from .parts import (
    episode_info,
    generators,
    generators_misfit,
    integer,
    list_of,
    misfit,
    named,
    number,
    numbered,
    optimizer_likes,
    optimizer_tensors,
    restore_generators,
    restore_optimizer,
    torch_generator_misfit,
    torch_generators,
    unsigned,
)


def progress_of(model: FocusPPO) -> dict[str, Any]:
    """Return how far a training has come, but for its tensors, as JSON-able values."""
    begun = model._last_obs is not None  # else the next learn() begins new episodes
    infos = model.ep_info_buffer or ()
    return {
        "counters": {name: getattr(model, name) for name in _COUNTERS},
        "positions": [player.position(begun=begun) for player in model.players],
        "penalties": [player.prices.penalty for player in model.players],
        "episode_infos": [{key: named(v) for key, v in info.items()} for info in infos],
        "successes": list(model.ep_success_buffer or ()),
        "signs": dict(model._watch._lasted),
        **generators(),
    }


def tensors_of(model: FocusPPO) -> dict[str, Tensor]:
    """Return weights, the best weights, the optimizer's state, and torch's generators."""
    tensors = {f"policy.{name}": value for name, value in model.policy.state_dict().items()}
    tensors |= {f"best.{name}": value for name, value in (model.best_weights or {}).items()}
    tensors |= optimizer_tensors(model.policy.optimizer)
    return tensors | torch_generators(model.device)


def progress_misfit(content: Mapping[str, Any], model: FocusPPO) -> str | None:
    """Return what of a file's content cannot be put into the model; None if all can."""
    counters, positions = content.get("counters"), content.get("positions")
    if not isinstance(counters, dict) or not isinstance(positions, list):
        return "counters or positions are missing"
    if len(positions) != len(model.players):
        return f"positions of {len(positions)} environments, expected {len(model.players)}"
    checks = [(f"counters.{name}", counters.get(name), fits) for name, fits in _COUNTERS.items()]
    for player, position in zip(model.players, positions, strict=True):
        place = position if isinstance(position, dict) else {}
        checks.append(("seed", place.get("seed"), unsigned))
        for name in ("episodes", "n_chosen"):
            checks.append((name, place.get(name), list_of(unsigned, player.n_envs)))
    prices = list_of(lambda value: number(value) and value >= 0, len(model.players))
    checks += [
        ("penalties", content.get("penalties"), prices),
        ("episode_infos", content.get("episode_infos"), list_of(episode_info)),
        ("successes", content.get("successes"), list_of(lambda v: v is True or number(v))),
        ("signs", content.get("signs"), _signs),
    ]
    for name, value, fits in checks:
        if not fits(value):
            return f"{name} cannot be {value!r:.80}"
    return generators_misfit(content)


def tensor_misfit(tensors: Mapping[str, Tensor], model: FocusPPO) -> str | None:
    """Return what of a file's tensors cannot be put into the model; None if all can."""
    weights = model.policy.state_dict()
    parts = [("policy.", weights, True), ("best.", weights, False)]  # the last: whether needed
    of_torch = torch_generators(model.device)
    parts.append(("", {"torch_random": of_torch.pop("torch_random")}, True))
    parts.append(("", of_torch, False))  # a training may go on, on another device
    for i, state in enumerate(optimizer_likes(model.policy.optimizer)):
        parts.append((f"optimizer.{i}.", state, False))  # one that was never trained has none
    return misfit(tensors, parts) or torch_generator_misfit(tensors)


def restore(content: Mapping[str, Any], tensors: Mapping[str, Tensor], model: FocusPPO) -> None:
    """Put back what was checked."""
    _restore_environments(content, model)
    _restore_weights(tensors, model)
    for name in _COUNTERS:
        setattr(model, name, content["counters"][name])
    size = model._stats_window_size
    infos = [{key: numbered(v) for key, v in info.items()} for info in content["episode_infos"]]
    model.ep_info_buffer = deque(infos, maxlen=size)
    model.ep_success_buffer = deque(content["successes"], maxlen=size)
    model._watch._lasted = Counter(content["signs"])
    # Last: whatever was drawn above is forgotten.
    restore_generators(content, tensors, model.device)


def _restore_environments(content: Mapping[str, Any], model: FocusPPO) -> None:
    assert model.env is not None  # its players were checked
    model.env.reset()  # uses up the seeds that are waiting
    places = zip(model.players, content["positions"], content["penalties"], strict=True)
    for player, position, penalty in places:
        player.go_to(position)
        player.set_penalty(penalty)
    model.penalty = None if model.target_gmacs is None else content["penalties"][0]
    model._last_obs = model.env.reset()  # type: ignore[assignment]
    model._last_episode_starts = np.ones(model.n_envs, dtype=bool)


def _restore_weights(tensors: Mapping[str, Tensor], model: FocusPPO) -> None:
    parts: dict[str, dict[str, Tensor]] = {"policy": {}, "best": {}}
    for name, value in tensors.items():
        part, _, rest = name.partition(".")
        if part in parts:
            parts[part][rest] = value
    model.policy.load_state_dict(parts["policy"])
    model.best_weights = parts["best"] or None
    restore_optimizer(model.policy.optimizer, tensors)


def _signs(value: Any) -> bool:
    return isinstance(value, dict) and all(map(integer, value.values()))


_COUNTERS: dict[str, Callable[[Any], bool]] = {
    "num_timesteps": unsigned,
    "n_rollouts": unsigned,
    "_n_updates": unsigned,
    "_episode_num": unsigned,
    "_current_progress_remaining": number,
    "draw_seed": unsigned,
    "mean_returns": list_of(number),
    "best_score": lambda value: value is None or number(value),
}
