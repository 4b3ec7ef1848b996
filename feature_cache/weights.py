"""Weights of encoders: random ones, torchvision's, or a file's, which is never executed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torchvision
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
    try:
        if path.suffix == ".safetensors":
            content: Any = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a file that is no checkpoint fails in many ways
        raise WeightsError(
            f"{path} is not a state dict that can be loaded safely ({_first_line(error)}): give "
            "weights saved with torch.save(model.state_dict(), …), or a .safetensors file"
        ) from error
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


def _find(name: str, weights: str) -> dict[str, Tensor]:
    models = torchvision.models
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
    return str(error).strip().split("\n")[0] or type(error).__name__
