"""Recognizers of any kind, read from bundles."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import torch

from ..files.bundle import read_bundle, restore
from ..files.typed import typed_value
from ..registry import find_class
from .base import VideoRecognizer
from .look import autocast_dtype
from .registry import RECOGNIZERS


def read_recognizer(
    path: str | os.PathLike[str],
    device: str | torch.device = "cpu",
    precision: str = "float32",
    *,
    fuse: bool = True,
) -> VideoRecognizer:
    """Read a recognizer from a bundle; nothing in it is executed.

    Args:
        path: The folder that ``save`` wrote.
        device: Where it runs.
        precision: In which the encoders compute; see `AdaptiveRecognizer`.
        fuse: Fuse the encoders, for inference; not if it is to be trained or saved again.

    Returns:
        A recognizer of the kind that the bundle names: an `AdaptiveRecognizer`, a `CubeRecognizer`,
        an `AFNetRecognizer`, or one of your own, whose module has been imported.

    Raises:
        BundleError: If the folder is not a readable recognizer bundle.
        ValueError: If the precision is unknown.
    """
    autocast_dtype(precision)  # refused here if it is unknown
    bundle = read_bundle(path, "recognizer")
    recognizer = restore(path, bundle, _assemble)
    recognizer.precision = precision
    recognizer = recognizer.to(device)
    return recognizer.fused() if fuse else recognizer


def _assemble(content: Mapping[str, Any]) -> VideoRecognizer:
    parts = dict(content)
    name = typed_value(str, parts.pop("recognizer", None), "recognizer")
    base: type[VideoRecognizer] = VideoRecognizer  # type: ignore[type-abstract]
    return find_class("recognizer", name, RECOGNIZERS, base, trusted=False).assemble(parts)
