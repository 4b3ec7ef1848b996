"""Checkpoints as files: tensors and JSON in safetensors, there whole or not at all."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ..errors import FocusgymError, in_words, shortened
from .atomic import write_whole
from .declared import check_tensors
from .documents import parse_json


class CheckpointError(FocusgymError):
    """A checkpoint cannot be used; the message says why and what to do."""


def write_checkpoint(path: Path, content: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write a file beside the one that is there, then put it in its place.

    Raises:
        CheckpointError: If it cannot be written; a former checkpoint stays as it is.
    """
    metadata = {"checkpoint": json.dumps(content, default=_plain)}
    data = save({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, metadata)
    try:
        write_whole(path, data)
    except OSError as error:
        raise CheckpointError(
            f"{path} could not be written ({in_words(error)}): make room, or give another path; a "
            "former checkpoint is as it was"
        ) from error


def read_checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read content and tensors; nothing in the file is executed.

    Raises:
        CheckpointError: If it is no intact checkpoint.
    """
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder, expected a file: give a path inside it")
    try:
        if not path.is_file():
            raise OSError("there is no such file")
        check_tensors(path)
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if "checkpoint" not in metadata:
                raise ValueError("it says nothing of a training")
            content = parse_json(metadata["checkpoint"])
            if not isinstance(content, dict):
                raise ValueError("its metadata is no JSON object")
            # Copies: what is read here is a map of the file.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except (OSError, ValueError, SafetensorError) as error:
        raise CheckpointError(
            f"{path} is not a readable checkpoint ({in_words(error)}): give another path, or "
            "remove it and train from the beginning"
        ) from error
    return content, tensors


def as_json(content: Any) -> Any:
    """Return what a file would give back of plain values and NumPy's."""
    return json.loads(json.dumps(content, default=_plain))


def differences(expected: Any, actual: Any, where: str) -> Iterator[str]:
    """Yield where two JSON values of a name differ, as ``name.part: expected ..., got ...``."""
    if isinstance(expected, dict) and isinstance(actual, dict):
        for name in dict.fromkeys((*expected, *actual)):
            yield from differences(expected.get(name), actual.get(name), f"{where}.{name}")
    elif isinstance(expected, list) and isinstance(actual, list) and len(expected) == len(actual):
        for i, (one, other) in enumerate(zip(expected, actual, strict=True)):
            yield from differences(one, other, f"{where}[{i}]")
    elif expected != actual:
        yield f"{where}: expected {_shown(expected)}, got {_shown(actual)}"


def _shown(value: Any) -> str:
    is_digest = isinstance(value, str) and re.fullmatch("[0-9a-f]{32,}", value)
    return shortened(value) if is_digest else f"{value!r:.80}"


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"a checkpoint holds numbers and text; got {value!r} of {type(value)}")
