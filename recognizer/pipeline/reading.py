"""Recognizers of any kind, read from bundles."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import torch

from ..files.bundle import read_bundle, restore
from .adafocus import assemble
from .afnet import assemble_afnet
from .base import VideoRecognizer
from .cubes import assemble_cubes
from .look import autocast_dtype


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
        An `AdaptiveRecognizer`; or a `CubeRecognizer` or an `AFNetRecognizer`, if the bundle is of
        one.

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
    if "afnet" in content:
        return assemble_afnet(content)
    return assemble_cubes(content) if "cubes" in content else assemble(content)
