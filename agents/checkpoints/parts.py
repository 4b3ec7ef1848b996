"""Parts of a training in a checkpoint: optimizer, generators, infos of episodes, and checks."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from ...recognizer import CheckpointError, in_words

OF_CUDA = "cuda_random"  # the state of CUDA's generator, of which none of ours draws
_OTHER_OPTIMIZER = "take another, such as torch.optim.Adam, or train without checkpoints"
# Scalars of NumPy that wrappers put into the infos of episodes.
_SCALARS = ("bool", "int32", "int64", "float32", "float64")


def optimizer_tensors(optimizer: Optimizer) -> dict[str, Tensor]:
    """Return the state of an optimizer, such as Adam's moments, as ``optimizer.INDEX.NAME``.

    Raises:
        CheckpointError: If it keeps something else than tensors and numbers.
    """
    return {
        f"optimizer.{index}.{name}": value
        for index, state in optimizer.state_dict()["state"].items()
        for name, value in _as_tensors(optimizer, state).items()
    }


def optimizer_likes(optimizer: Optimizer) -> list[dict[str, Tensor]]:
    """Return what an optimizer's state of each parameter is like: names, shapes and types.

    A copy makes a step on gradients of zeros, so that an optimizer of any kind says itself what it
    keeps.

    Raises:
        CheckpointError: If it makes no step from gradients alone, or keeps something else than
            tensors and numbers.
    """
    states = _stepped(optimizer).state_dict()["state"]
    n_parameters = sum(len(group["params"]) for group in optimizer.param_groups)
    return [_as_tensors(optimizer, states.get(index, {})) for index in range(n_parameters)]


def restore_optimizer(optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` returned; other names are passed over."""
    kept = _stepped(optimizer).state_dict()["state"]
    states: dict[int, dict[str, Any]] = {}
    for name, value in tensors.items():
        part, _, rest = name.partition(".")
        if part == "optimizer":
            index, _, key = rest.partition(".")
            is_tensor = isinstance(kept[int(index)][key], Tensor)
            states.setdefault(int(index), {})[key] = value if is_tensor else value.item()
    optimizer.load_state_dict({**optimizer.state_dict(), "state": states})


def _stepped(optimizer: Optimizer) -> Optimizer:
    """Return a copy of an optimizer, of parameters of its own, after a first step on zeros."""
    copied = deepcopy(optimizer)
    copied.state.clear()
    for group in copied.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    try:
        copied.step()
    except Exception as error:  # an optimizer of the user's own does anything
        raise CheckpointError(
            f"checkpoints hold optimizers that step from gradients alone, and "
            f"{type(optimizer).__name__} does not ({in_words(error)}): {_OTHER_OPTIMIZER}"
        ) from error
    return copied


def _as_tensors(optimizer: Optimizer, state: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the state of a parameter with numbers as tensors without a dimension."""
    tensors = {}
    for name, value in state.items():
        if value is None:
            continue  # which the optimizer sets itself where it is missing
        if not isinstance(value, Tensor | int | float):
            raise CheckpointError(
                f"checkpoints hold optimizers that keep tensors and numbers, and "
                f"{type(optimizer).__name__} keeps {name} = {value!r:.80}: {_OTHER_OPTIMIZER}"
            )
        is_float = isinstance(value, float)
        dtype = torch.float64 if is_float else torch.int64
        tensors[name] = value if isinstance(value, Tensor) else torch.tensor(value, dtype=dtype)
    return tensors


def misfit(
    tensors: Mapping[str, Tensor], parts: list[tuple[str, dict[str, Tensor], bool]]
) -> str | None:
    """Return what of a file's tensors is not as expected; None if all is.

    Args:
        tensors: Tensors of the file, by name.
        parts: Prefixes with what tensors of that prefix are like, and whether they are needed:
            those of a part that is not needed may all be missing, but not some.
    """
    known = {prefix + name: like for prefix, likes, _ in parts for name, like in likes.items()}
    for name, value in tensors.items():
        like = known.get(name)
        if like is None and name == OF_CUDA:
            continue
        if like is None:
            return f"a tensor {name!r:.80} is not known"
        if (value.shape, value.dtype) != (like.shape, like.dtype):
            expected, actual = ((t.dtype, list(t.shape)) for t in (like, value))
            return f"{name}: expected {expected}, got {actual}"
    for prefix, likes, needed in parts:
        missing = [prefix + name for name in likes if prefix + name not in tensors]
        if missing and (needed or len(missing) < len(likes)):
            return f"{missing[0]} is missing"
    return None


def generators() -> dict[str, Any]:
    """Return the states of Python's and NumPy's global generators, JSON-able."""
    return {
        "python_random": random.getstate(),
        "numpy_random": np.random.get_state(),  # noqa: NPY002
    }


def torch_generators(device: torch.device) -> dict[str, Tensor]:
    """Return the states of torch's generators: the CPU's, and that of a CUDA device."""
    states = {"torch_random": torch.get_rng_state()}
    if device.type == "cuda":
        states[OF_CUDA] = torch.cuda.get_rng_state(device)
    return states


def generators_misfit(content: Mapping[str, Any]) -> str | None:
    """Return why `generators` of a file cannot be put back; None if they can."""
    try:
        random.Random().setstate(_python_state(content))
        np.random.RandomState().set_state(_numpy_state(content))
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        return f"no state of a generator of random numbers: {in_words(error)}"
    return None


def torch_generator_misfit(tensors: Mapping[str, Tensor]) -> str | None:
    """Return why the state of torch's generator of a file cannot be put back; None if it can."""
    try:
        torch.Generator().set_state(tensors["torch_random"])
    except RuntimeError as error:
        return f"no state of a generator of random numbers: {in_words(error)}"
    return None


def restore_generators(
    content: Mapping[str, Any], tensors: Mapping[str, Tensor], device: torch.device
) -> None:
    """Put all global generators back; what was drawn in between is forgotten."""
    random.setstate(_python_state(content))
    np.random.set_state(_numpy_state(content))  # noqa: NPY002
    torch.set_rng_state(tensors["torch_random"])
    if OF_CUDA in tensors and device.type == "cuda":
        torch.cuda.set_rng_state(tensors[OF_CUDA], device)


def named(value: Any) -> Any:
    """Return a scalar of NumPy as a dict: means over float32 are not those over float64."""
    if isinstance(value, np.generic):
        return {"dtype": value.dtype.name, "value": value.item()}
    return value


def numbered(value: Any) -> Any:
    """Return what `named` was given."""
    if not isinstance(value, dict):
        return value
    if value["dtype"] not in _SCALARS:
        raise ValueError(f"no scalar: {value['dtype']}")
    scalar = np.dtype(value["dtype"]).type(value["value"])
    if scalar.dtype.kind in "iu" and scalar != value["value"]:  # NumPy 1 takes what does not fit
        raise OverflowError(f"{value['value']!r:.80} is no {value['dtype']}")
    return scalar


def _python_state(content: Mapping[str, Any]) -> tuple[Any, ...]:
    version, internal, gauss = content["python_random"]
    return version, tuple(internal), gauss


def _numpy_state(content: Mapping[str, Any]) -> tuple[Any, ...]:
    kind, keys, position, *gauss = content["numpy_random"]
    if not unsigned(position) or position > len(keys):  # NumPy would read past the end
        raise ValueError(f"position {position!r:.80} of {len(keys)} keys")
    if not all(unsigned(key) and key < 2**32 for key in keys):  # NumPy 1 takes others as well
        raise ValueError("keys of other than 32 bits")
    return kind, np.array(keys, dtype=np.uint32), position, *gauss


def integer(value: Any) -> bool:
    """Say whether a value of a file is an integer of 62 bits."""
    return type(value) is int and abs(value) < 2**62


def unsigned(value: Any) -> bool:
    """Say whether it is an integer of at least 0."""
    return integer(value) and value >= 0


def number(value: Any) -> bool:
    """Say whether it is a finite number."""
    return integer(value) or (type(value) is float and math.isfinite(value))


def list_of(fits: Callable[[Any], bool], length: int | None = None) -> Callable[[Any], bool]:
    """Return what says whether a value is a list of what fits, of a length where one is given."""

    def check(value: Any) -> bool:
        right = isinstance(value, list) and length in (None, len(value))
        return right and all(map(fits, value))

    return check


def episode_info(value: Any) -> bool:
    """Say whether it is the info of an episode that ended."""
    try:
        info = {name: numbered(each) for name, each in value.items()}
        return math.isfinite(info["r"]) and math.isfinite(info["l"])
    except (AttributeError, KeyError, TypeError, ValueError, ArithmeticError):
        return False
