"""Weights of encoders: random ones, torchvision's, or a file's, which is never executed."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...recognizer import (
    Encoder,
    EncoderConfig,
    WeightsError,
    first_weights,
    in_words,
    load_weights,
)
from ...recognizer.encoders.masks import without_masks
from ...recognizer.encoders.quantised import without_bits
from ...recognizer.encoders.shift import without_shift
from ...recognizer.files.declared import DeclaredError, check_torch_archive, read_tensors

_FILE = "a .pth or .safetensors file"
# Under which training programs keep the weights, where there is more than one state dict.
_WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "weights")
# The first bytes of what torch writes: a zip archive now, a pickle before version 1.6.
_TORCH_BEGINS = (b"PK\x03\x04", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.")


def make_encoder(config: EncoderConfig, weights: str) -> Encoder:
    """Build an encoder with weights, in eval mode; torch's global generator is left as it is.

    Args:
        config: Name and sizes of the encoder.
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
    with first_weights(0):
        encoder = Encoder(config)
    if state is not None:
        load_weights(encoder, state)
    return encoder.eval()


def read_state_dict(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Read a state dict, or the one that a checkpoint keeps beside other things.

    A checkpoint's is its only entry that is a dictionary of tensors, whatever it is called; of
    several the first that is called ``state_dict``, ``model_state_dict``, ``model_state``,
    ``model``, ``net``, ``network`` or ``weights``.

    Args:
        path: A ``.safetensors`` file, or one that torch wrote; of the latter nothing but tensors
            and plain containers is unpickled.

    Raises:
        WeightsError: If the file is missing, cannot be read safely, or holds no state dict or
            several without saying which.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(
            f"no such file {path}: give {_FILE}, default, one of torchvision's weights, or random"
        )
    give = "give weights saved with torch.save(model.state_dict(), …), or a .safetensors file"
    content = _load(path, "a state dict", give)
    if _is_state_dict(content):
        return dict(content)
    entries = content.items() if isinstance(content, Mapping) else ()
    state_dicts = {str(name): value for name, value in entries if _is_state_dict(value)}
    named = [name for name in _WRAPPERS if name in state_dicts] or [*state_dicts]
    if not state_dicts:
        raise WeightsError(
            f"{path} holds a {type(content).__name__}, expected a state dict of tensors: save "
            "model.state_dict(), not the model"
        )
    if len(state_dicts) > 1 and named[0] not in _WRAPPERS:
        raise WeightsError(
            f"{path} holds several state dicts ({', '.join(state_dicts)}): save the one that is "
            "wanted in a file of its own"
        )
    return dict(state_dicts[named[0]])


def _is_state_dict(content: Any) -> bool:
    return (
        isinstance(content, Mapping)
        and len(content) > 0
        and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items())
    )


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


_NOT_A_NUMBER = "expected a number"


class _NumpyDtype:
    """Stands in for ``numpy.dtype``, see `_numpy_number`."""

    order: Any = "="

    def __init__(self, code: str, *_: object) -> None:
        if not re.fullmatch(r"[biuf][1248]", code):
            raise ValueError(f"a numpy scalar of type {code!r}, {_NOT_A_NUMBER}")
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
            return read_tensors(path)
        check_torch_archive(path)
        with torch.serialization.safe_globals(_STAND_INS):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a file that is no checkpoint fails in many ways
        reason = _why_not_read(path, error)
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

    name, _ = without_shift(without_masks(without_bits(name)[0])[0])  # these have no weights
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
            f"({in_words(error)}): give {_FILE}, or 'random'"
        ) from error
    return state


def _why_not_read(path: Path, error: Exception) -> str:
    """Return why a file cannot be read: what torch and pickle say of it is for programmers."""
    if isinstance(error, OSError | DeclaredError):
        return in_words(error)
    if ours := re.search(rf"a numpy scalar of type .*, {_NOT_A_NUMBER}", str(error)):
        return ours[0]
    if path.suffix == ".safetensors":
        return "it is cut short or damaged, or no safetensors file"
    try:
        with path.open("rb") as file:
            begins = file.read(max(map(len, _TORCH_BEGINS)))
    except OSError as unread:
        return in_words(unread)
    if begins.startswith(_TORCH_BEGINS):
        return "it is cut short or damaged, or holds more than tensors and plain containers"
    return "it is no file that torch wrote"
