"""Weights of encoders: random ones, torchvision's, or a file's, which is never executed."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from ..recognizer import Encoder, EncoderConfig, WeightsError, load_weights

_FILE = "a .pth or .safetensors file"
_WRAPPERS = ("state_dict", "model")  # under which training programs keep the weights


def make_encoder(config: EncoderConfig, weights: str) -> Encoder:
    """Build an encoder with weights, in eval mode; torch's global generator is left as it is.

    Args:
        config: Which encoder.
        weights: One of

            - ``random``: the network's own initialisation, drawn from a generator seeded 0: two
              encoders of one name are equal;
            - ``default``, or a name such as ``IMAGENET1K_V1``: torchvision's weights of this
              network, downloaded into torch's cache;
            - a ``.pth``, ``.pt`` or ``.safetensors`` file, see `read_state_dict`.

    Raises:
        EncoderError: If the network has no feature map before its pooling.
        WeightsError: If there are no such weights, they cannot be had, or do not fit.
    """
    state = None if weights == "random" else _find(config.name, weights)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        encoder = Encoder(config)
    if state is not None:
        load_weights(encoder, state)
    return encoder.eval()


def read_state_dict(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Read a state dict, or the one that a checkpoint keeps as ``state_dict`` or ``model``.

    Args:
        path: A ``.safetensors`` file, or one that torch wrote; of the latter nothing but tensors
            and plain containers is unpickled.

    Raises:
        WeightsError: If the file is missing, cannot be read safely or holds something else.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(
            f"no such file {path}: give {_FILE}, default, one of torchvision's weights, or random"
        )
    give = "give weights saved with torch.save(model.state_dict(), …), or a .safetensors file"
    content = _load(path, "a state dict", give)
    if isinstance(content, Mapping):
        wrapped = [content[key] for key in _WRAPPERS if isinstance(content.get(key), Mapping)]
        content = wrapped[0] if wrapped else content
    if not isinstance(content, Mapping) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items()
    ):
        raise WeightsError(
            f"{path} holds a {type(content).__name__}, expected a state dict of tensors: save "
            "model.state_dict(), not the model"
        )
    return dict(content)


def read_checkpoint(path: str | os.PathLike[str], entries: Sequence[str]) -> dict[str, Any]:
    """Read all that a training program saved: state dicts by name, and what else it noted.

    Args:
        path: A file that torch wrote (``.pth.tar``, ``.pth``, ``.pt``). Nothing but tensors, plain
            containers and numpy's numbers is unpickled; the latter become Python's.
        entries: What is needed of it. It is not checked, but where the file also holds something
            that is refused, the message tells how to write a copy of these entries alone.

    Raises:
        WeightsError: If the file is missing, cannot be read safely or holds something else.
    """
    path = Path(path)
    wanted = f"the file with the entries {', '.join(entries)}, as torch.save wrote it"
    if not path.is_file():
        raise WeightsError(f"no such file {path}: give {wanted}")
    copy = (
        f"import torch; c = torch.load({str(path)!r}, map_location='cpu', weights_only=False); "
        f"torch.save({{k: c[k] for k in {tuple(entries)} if k in c}}, "
        f"{str(path.with_name(f'clean-{path.name}'))!r})"
    )
    content = _load(path, "a checkpoint", f"give {wanted}", copy)
    if not isinstance(content, Mapping) or not all(isinstance(key, str) for key in content):
        raise WeightsError(
            f"{path} holds a {type(content).__name__}, expected a dictionary whose keys are names: "
            f"give {wanted}"
        )
    return dict(content)


class _NumpyDtype:
    """Stands in for ``numpy.dtype``, see `_numpy_number`."""

    order: Any = "="

    def __init__(self, code: str, *_: object) -> None:
        if not re.fullmatch(r"[biuf][1248]", code):
            raise ValueError(f"a numpy scalar of type {code!r}, expected a number")
        self.code = code

    def __setstate__(self, state: Sequence[Any]) -> None:
        self.order = state[1]


def _numpy_number(dtype: _NumpyDtype, data: bytes) -> Any:
    """Return a numpy scalar of a file, such as an accuracy, as a Python number.

    It stands in for numpy's own function, which takes a dtype: numpy's ``dtype.__setstate__``
    believes any flags that a file gives, so a crafted one could pass numbers off as pointers.
    """
    return np.frombuffer(data, np.dtype(dtype.code).newbyteorder(dtype.order)).item()


_STAND_INS: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    (_NumpyDtype, "numpy.dtype"),
    (_numpy_number, "numpy.core.multiarray.scalar"),
    (_numpy_number, "numpy._core.multiarray.scalar"),  # since numpy 2
]


def _load(path: Path, what: str, give: str, copy: str | None = None) -> Any:
    """Load a file without executing it; ``copy`` is Python that writes a clean one."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with torch.serialization.safe_globals(_STAND_INS):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a file that is no checkpoint fails in many ways
        reason = _first_line(error)
        refused = re.search(r"GLOBAL (\S+) (?:was not|whose)", str(error))
        if refused:
            reason = f"it asks for {refused[1]}, which was not executed"
            if copy is not None:
                give = (
                    "only if you trust its origin, for this executes it, write a clean copy and "
                    f'give that: python -c "{copy}"'
                )
        raise WeightsError(
            f"{path} is not {what} that can be loaded safely ({reason}): {give}"
        ) from error


def _find(name: str, weights: str) -> dict[str, Tensor]:
    from torchvision import models

    known = models.get_model_weights(name) if name in models.list_models(module=models) else None
    if known and (weights == "default" or weights in known.__members__):
        return _download(name, known.DEFAULT if weights == "default" else known[weights])
    if Path(weights).suffix or os.sep in weights or Path(weights).exists():
        return read_state_dict(weights)
    names = f"there are {', '.join(member.name for member in known)}; or " if known else ""
    raise WeightsError(
        f"{name} has no torchvision weights {weights!r}: {names}give {_FILE}, or 'random'"
    )


def _download(name: str, member: Any) -> dict[str, Tensor]:
    preset, default = member.transforms(), type(member).DEFAULT.transforms()
    if (preset.mean, preset.std) != (default.mean, default.std):  # VGG-16's IMAGENET1K_FEATURES
        raise WeightsError(
            f"torchvision's weights {member.name} of {name} expect inputs normalised with "
            f"{preset.mean} and {preset.std}, encoders normalise with {default.mean} and "
            f"{default.std}: give default, {_FILE}, or 'random'"
        )
    try:
        state: dict[str, Tensor] = member.get_state_dict(
            progress=False, check_hash=True, map_location="cpu", weights_only=True
        )
    except Exception as error:  # networks, proxies, disks and hashes fail in many ways
        raise WeightsError(
            f"torchvision's weights {member.name} of {name} cannot be had "
            f"({_first_line(error)}): give {_FILE}, or 'random'"
        ) from error
    return state


def _first_line(error: Exception) -> str:
    # Around the reason, torch advises to unpickle the file all the same: not in our name.
    text = str(error).rpartition("WeightsUnpickler error:")[2].split(" In PyTorch 2")[0]
    return text.strip().split("\n")[0] or type(error).__name__
