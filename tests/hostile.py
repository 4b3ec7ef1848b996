"""Hostile files that are small, and what they would take if they were believed."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image


def alias_bomb(levels: int = 12) -> str:
    """Return YAML of a few hundred bytes that stands for ``10 ** levels`` values."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    for level in range(1, levels):
        names = ", ".join([f"*a{level - 1}"] * 10)
        lines.append(f"a{level}: &a{level} [{names}]")
    return "\n".join(lines)


def npy_of(shape: tuple[int, ...], content: bytes = b"", descr: str = "<f4") -> bytes:
    """Return an ``.npy`` file that declares a shape, whatever it holds."""
    header = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode()
    header = header.ljust(118 - 1) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + content


def npz_of(member: bytes, names: tuple[str, ...]) -> bytes:
    """Return an ``.npz`` file whose arrays are all the same bytes."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(f"{name}.npy", member)
    return content.getvalue()


def tensors_of(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    """Return a safetensors file with a header, which may say another length of itself."""
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def wide_image(path: Path, side_px: int) -> None:
    """Write a PNG of few bytes that is ``side_px`` wide and high."""
    most, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        Image.new("1", (side_px, side_px)).save(path)
    finally:
        Image.MAX_IMAGE_PIXELS = most


def one_frame() -> np.ndarray:
    """Return the index of the one frame of an image: ``(1,)`` int64."""
    return np.zeros(1, dtype=np.int64)
