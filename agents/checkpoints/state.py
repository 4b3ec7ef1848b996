"""What of a training is in a checkpoint: taken from a model, checked, and put back."""

from __future__ import annotations

import math
import random
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...recognizer import in_words
from ..ppo.focus_ppo import FocusPPO

_OF_CUDA = "cuda_random"  # the state of CUDA's generator, of which FocusPPO itself draws nothing
# Scalars of NumPy that wrappers put into the infos of episodes.
_SCALARS = ("bool", "int32", "int64", "float32", "float64")


def progress_of(model: FocusPPO) -> dict[str, Any]:
    """Return how far a training has come, but for its tensors, as JSON-able values."""
    begun = model._last_obs is not None  # else the next learn() begins new episodes
    infos = model.ep_info_buffer or ()
    return {
        "counters": {name: getattr(model, name) for name in _COUNTERS},
        "positions": [player.position(begun=begun) for player in model.players],
        "penalties": [player.prices.penalty for player in model.players],
        "episode_infos": [{key: _named(v) for key, v in info.items()} for info in infos],
        "successes": list(model.ep_success_buffer or ()),
        "signs": dict(model._watch._lasted),
        "python_random": random.getstate(),
        "numpy_random": np.random.get_state(),  # noqa: NPY002
    }


def tensors_of(model: FocusPPO) -> dict[str, Tensor]:
    """Return weights, the best weights, the optimizer's state, and torch's generators."""
    tensors = {f"policy.{name}": value for name, value in model.policy.state_dict().items()}
    tensors |= {f"best.{name}": value for name, value in (model.best_weights or {}).items()}
    for index, state in model.policy.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in state.items()}
    return tensors | _torch_generators(model)


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
        checks.append(("seed", place.get("seed"), _whole))
        for name in ("episodes", "n_chosen"):
            checks.append((name, place.get(name), _list_of(_whole, player.n_envs)))
    prices = _list_of(lambda value: _number(value) and value >= 0, len(model.players))
    checks += [
        ("penalties", content.get("penalties"), prices),
        ("episode_infos", content.get("episode_infos"), _list_of(_episode_info)),
        ("successes", content.get("successes"), _list_of(lambda v: v is True or _number(v))),
        ("signs", content.get("signs"), _signs),
    ]
    for name, value, fits in checks:
        if not fits(value):
            return f"{name} cannot be {value!r:.80}"
    try:
        random.Random().setstate(_python_state(content))
        np.random.RandomState().set_state(_numpy_state(content))
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        return f"no state of a generator of random numbers: {in_words(error)}"
    return None


def tensor_misfit(tensors: Mapping[str, Tensor], model: FocusPPO) -> str | None:
    """Return what of a file's tensors cannot be put into the model; None if all can."""
    weights, optimizer = model.policy.state_dict(), model.policy.optimizer
    moments = ["exp_avg", "exp_avg_sq", *["max_exp_avg_sq"] * optimizer.defaults["amsgrad"]]
    parts = [("policy.", weights, True), ("best.", weights, False)]  # the last: whether needed
    generators = _torch_generators(model)
    parts.append(("", {"torch_random": generators.pop("torch_random")}, True))
    parts.append(("", generators, False))  # a training may go on, on another device
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for i, parameter in enumerate(parameters):  # one that was never trained has no state
        state = {"step": torch.tensor(0.0), **dict.fromkeys(moments, parameter)}
        parts.append((f"optimizer.{i}.", state, False))
    known = {prefix + name: like for prefix, likes, _ in parts for name, like in likes.items()}
    for name, value in tensors.items():
        like = known.get(name)
        if like is None and name == _OF_CUDA:
            continue
        if like is None:
            return f"a tensor {name!r:.80} is not known"
        if (value.shape, value.dtype) != (like.shape, like.dtype):
            expected, got = ((t.dtype, list(t.shape)) for t in (like, value))
            return f"{name}: expected {expected}, got {got}"
    for prefix, likes, needed in parts:
        missing = [prefix + name for name in likes if prefix + name not in tensors]
        if missing and (needed or len(missing) < len(likes)):
            return f"{missing[0]} is missing"
    try:
        torch.Generator().set_state(tensors["torch_random"])
    except RuntimeError as error:
        return f"no state of a generator of random numbers: {in_words(error)}"
    return None


def restore(content: Mapping[str, Any], tensors: Mapping[str, Tensor], model: FocusPPO) -> None:
    """Put back what was checked."""
    _restore_environments(content, model)
    _restore_weights(tensors, model)
    for name in _COUNTERS:
        setattr(model, name, content["counters"][name])
    size = model._stats_window_size
    infos = [{key: _numbered(v) for key, v in info.items()} for info in content["episode_infos"]]
    model.ep_info_buffer = deque(infos, maxlen=size)
    model.ep_success_buffer = deque(content["successes"], maxlen=size)
    model._watch._lasted = Counter(content["signs"])
    # Last: whatever was drawn above is forgotten.
    random.setstate(_python_state(content))
    np.random.set_state(_numpy_state(content))  # noqa: NPY002
    torch.set_rng_state(tensors["torch_random"])
    if _OF_CUDA in tensors and model.device.type == "cuda":
        torch.cuda.set_rng_state(tensors[_OF_CUDA], model.device)


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
    states: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        part, _, rest = name.partition(".")
        if part == "optimizer":
            index, _, key = rest.partition(".")
            states.setdefault(int(index), {})[key] = value
        elif part in parts:
            parts[part][rest] = value
    model.policy.load_state_dict(parts["policy"])
    model.best_weights = parts["best"] or None
    state = model.policy.optimizer.state_dict()
    model.policy.optimizer.load_state_dict({**state, "state": states})


def _torch_generators(model: FocusPPO) -> dict[str, Tensor]:
    states = {"torch_random": torch.get_rng_state()}
    if model.device.type == "cuda":
        states[_OF_CUDA] = torch.cuda.get_rng_state(model.device)
    return states


def _named(value: Any) -> Any:
    """Return a scalar of NumPy as a dict: means over float32 are not those over float64."""
    if isinstance(value, np.generic):
        return {"dtype": value.dtype.name, "value": value.item()}
    return value


def _numbered(value: Any) -> Any:
    """Return what `_named` was given."""
    if not isinstance(value, dict):
        return value
    if value["dtype"] not in _SCALARS:
        raise ValueError(f"no scalar: {value['dtype']}")
    return np.dtype(value["dtype"]).type(value["value"])


def _python_state(content: Mapping[str, Any]) -> tuple[Any, ...]:
    version, internal, gauss = content["python_random"]
    return version, tuple(internal), gauss


def _numpy_state(content: Mapping[str, Any]) -> tuple[Any, ...]:
    kind, keys, position, *gauss = content["numpy_random"]
    if not _whole(position) or position > len(keys):  # NumPy would read past the end
        raise ValueError(f"position {position!r:.80} of {len(keys)} keys")
    return kind, np.array(keys, dtype=np.uint32), position, *gauss


def _integer(value: Any) -> bool:
    return type(value) is int and abs(value) < 2**62


def _whole(value: Any) -> bool:
    return _integer(value) and value >= 0


def _number(value: Any) -> bool:
    return _integer(value) or (type(value) is float and math.isfinite(value))


def _list_of(fits: Callable[[Any], bool], length: int | None = None) -> Callable[[Any], bool]:
    def check(value: Any) -> bool:
        right = isinstance(value, list) and length in (None, len(value))
        return right and all(map(fits, value))

    return check


def _episode_info(value: Any) -> bool:
    try:
        info = {name: _numbered(each) for name, each in value.items()}
        return math.isfinite(info["r"]) and math.isfinite(info["l"])
    except (AttributeError, KeyError, TypeError, ValueError, ArithmeticError):
        return False


def _signs(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_integer, value.values()))


_COUNTERS: dict[str, Callable[[Any], bool]] = {
    "num_timesteps": _whole,
    "n_rollouts": _whole,
    "_n_updates": _whole,
    "_episode_num": _whole,
    "_current_progress_remaining": _number,
    "draw_seed": _whole,
    "mean_returns": _list_of(_number),
    "best_score": lambda value: value is None or _number(value),
}
