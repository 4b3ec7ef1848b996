"""From the option ``--device`` to where torch computes."""

from __future__ import annotations

import re

import torch

from .parse import UsageError


def device_of(option: str) -> str:
    """Return the device that an option means.

    Args:
        option: ``cpu``; ``cuda``, or ``cuda:N`` for one of several; or ``auto``, which is ``cuda``
            where torch finds a device and ``cpu`` elsewhere.

    Returns:
        ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        UsageError: If it is none of these, or torch does not find it here.
    """
    if option == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if option == "cpu":
        return option
    match = re.fullmatch(r"cuda(?::([0-9]{1,3}))?", option)
    if match is None:
        raise UsageError(
            f"--device must be auto, cpu, cuda, or cuda:N for one of several; got {option!r}"
        )
    if not torch.cuda.is_available():
        raise UsageError(f"--device {option}: torch finds no CUDA device here; give --device cpu")
    n = torch.cuda.device_count()
    if match[1] and int(match[1]) >= n:
        devices = ", ".join(f"cuda:{i}" for i in range(n))
        raise UsageError(f"--device {option}: torch finds no such device here; there is {devices}")
    return option


def device_name(device: str) -> str:
    """Return a device as it stands in ``run.json``: ``cpu``, or ``cuda`` with the GPU's name."""
    return (
        device if device.startswith("cpu") else f"{device} ({torch.cuda.get_device_name(device)})"
    )
