"""Changes to files: of their bytes, and of the values that they hold."""

from __future__ import annotations

import io
import json
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from hostile import alias_bomb, npy_of
from safetensors.torch import load, save

HOSTILE: list[Any] = [
    *(None, True, -1, 0, 1, 7, 2**31, 2**63, 10**30, 1e308, -0.5, float("nan"), float("inf")),
    *("", "x", "../x", "/etc/passwd", "\0", "[/x] $\\frac{", "\x1b[2J", "a" * 100_000, "%s%s"),
    *([], {}, [[]], [1] * 1000, {"a": 1}, [{"a": None}], "1e5", "nan"),
]
NUMBERS = (0, -1, 7, 1e4, -1e30, 1e38, float("nan"), float("inf"))
Rng = np.random.Generator
Change = Callable[[Rng, bytes], bytes]


def flip(rng: Rng, content: bytes) -> bytes:
    """Change one to four bytes."""
    changed = bytearray(content)
    for at in rng.integers(0, max(1, len(changed)), rng.integers(1, 5)).tolist():
        if at < len(changed):
            changed[at] ^= int(rng.integers(1, 256))
    return bytes(changed)


def near_begin(rng: Rng, content: bytes) -> bytes:
    """Change bytes of the first hundred, where headers are."""
    return flip(rng, content[:100]) + content[100:]


def cut(rng: Rng, content: bytes) -> bytes:
    """Leave out the end, or all."""
    return content[: int(rng.integers(0, len(content) + 1))]


def take_out(rng: Rng, content: bytes) -> bytes:
    """Leave out a part in the middle."""
    at, size = rng.integers(0, len(content) + 1), rng.integers(1, 33)
    return content[:at] + content[at + size :]


def put_in(rng: Rng, content: bytes) -> bytes:
    """Put noise in the middle."""
    at = int(rng.integers(0, len(content) + 1))
    return content[:at] + rng.bytes(int(rng.integers(1, 65))) + content[at:]


def big_number(rng: Rng, content: bytes) -> bytes:
    """Write the largest of 32 or 64 bits, or nothing, somewhere."""
    width = int(rng.choice([4, 8]))
    number = rng.choice([b"\xff" * width, b"\x7f" + b"\xff" * (width - 1), bytes(width)])
    at = int(rng.integers(0, max(1, len(content) - width)))
    return content[:at] + bytes(number).ljust(width, b"\0") + content[at + width :]


BYTES: tuple[Change, ...] = (flip, near_begin, cut, take_out, put_in, big_number)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every container of a document, with a key of it."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, each in [*pairs]:
        yield value, key
        if isinstance(each, dict | list) and each:
            yield from _places(each)


def other_value(rng: Rng, document: Any) -> Any:
    """Put a hostile value in a document, leave one out, or give one another name."""
    if not isinstance(document, dict | list) or not document:
        return HOSTILE[int(rng.integers(len(HOSTILE)))]
    places = [*_places(document)]
    container, key = places[int(rng.integers(len(places)))]
    value, how = container[key], rng.random()
    if how < 0.15:
        del container[key]
    elif how < 0.25 and isinstance(container, dict):
        container[f"{key}_"] = container.pop(key)
    elif how < 0.35:
        container[key] = [value]
    elif how < 0.45 and isinstance(value, int | float):
        container[key] = value * float(rng.choice([-1, 1000, 1e9, 0.5]))
    elif how < 0.5:
        for _ in range(200):
            value = [value]
        container[key] = value
    else:
        container[key] = HOSTILE[int(rng.integers(len(HOSTILE)))]
    return document


def json_value(rng: Rng, content: bytes) -> bytes:
    """Change a value of a JSON file; of a file of several lines, in one of them."""
    lines = content.splitlines() if content.count(b"\n{") > 1 else [content]
    at = int(rng.integers(len(lines)))
    lines[at] = json.dumps(other_value(rng, json.loads(lines[at]))).encode()
    return b"\n".join(lines) + b"\n"


def yaml_value(rng: Rng, content: bytes) -> bytes:
    """Change a value of a YAML file, or put an alias bomb in it."""
    if rng.random() < 0.1:
        return content + b"\n" + alias_bomb().encode()
    return yaml.safe_dump(other_value(rng, yaml.safe_load(content))).encode()


def cell(rng: Rng, content: bytes) -> bytes:
    """Change a cell of a table, or the whole of a line."""
    text = content.decode()
    separator = "," if "," in text else " "
    rows = [line.split(separator) for line in text.splitlines()]
    row = rows[int(rng.integers(len(rows)))]
    at = int(rng.integers(len(row)))
    how = rng.random()
    if how < 0.1:
        del row[at]
    elif how < 0.2:
        rows.append([*row])
    elif how < 0.25:
        rows.remove(row)
    else:
        value = HOSTILE[int(rng.integers(len(HOSTILE)))]
        row[at] = str(value) if isinstance(value, str) else json.dumps(value)
    return "\n".join(map(separator.join, rows)).encode("utf-8", "surrogateescape")


def npy_header(rng: Rng, content: bytes) -> bytes:
    """Let an ``.npy`` file declare another shape or type."""
    size = struct.unpack("<H", content[8:10])[0]
    header: dict[str, Any] = eval(content[10 : 10 + size], {})
    shape = [*header["shape"]]
    how = rng.random()
    if how < 0.3:
        kinds = ("<f2", "<f4", "<f8", "|O", "<i8", "|b1", "|V0", "<U5", "|S0", "<M8[s]", "<c16")
        header["descr"] = str(rng.choice(kinds))
    elif how < 0.7 and shape:
        sizes = [0, 1, -1, 2**31, 2**44, 2**63, shape[0] + 1, True, 1.5]
        shape[int(rng.integers(len(shape)))] = sizes[int(rng.integers(len(sizes)))]
    elif how < 0.85:
        shape = [int(np.prod(shape))] if rng.random() < 0.5 else [*shape, 1]
    else:
        shape = shape[::-1]
    return npy_of(tuple(shape), content[10 + size :], header["descr"])


def npz_member(rng: Rng, content: bytes) -> bytes:
    """Change an array of an ``.npz`` file, leave it out, or give it another name.

    What the archive itself says of its members is right, their checksums too.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name, how = str(rng.choice([*members])), rng.random()
    if how < 0.1:
        del members[name]
    elif how < 0.2:
        members[str(rng.choice(["../x.npy", f"{name}_", "/x.npy"]))] = members.pop(name)
    elif how < 0.6:
        members[name] = npy_header(rng, members[name])
    else:
        members[name] = BYTES[int(rng.integers(len(BYTES)))](rng, members[name])
    changed = io.BytesIO()
    packing = zipfile.ZIP_DEFLATED if rng.random() < 0.5 else zipfile.ZIP_STORED
    with zipfile.ZipFile(changed, "w", packing) as archive:
        for each, array in members.items():
            archive.writestr(each, array)
    return changed.getvalue()


def tar_member(rng: Rng, content: bytes) -> bytes:
    """Let a member of a tar archive be another kind of file, or lie or point elsewhere."""
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        members = [(each, tar.extractfile(each) if each.isreg() else None) for each in tar]
        read = [(each, b"" if file is None else file.read()) for each, file in members]
    changed, at = io.BytesIO(), int(rng.integers(len(read)))
    elsewhere = str(rng.choice(["../x", "/tmp/x", "a/../../x", "..", ".", "", "a" * 300, "a.npy"]))
    with tarfile.open(fileobj=changed, mode="w") as tar:
        for i, (each, data) in enumerate(read):
            if i == at and rng.random() < 0.5:
                each.name = elsewhere
            elif i == at:
                each.type, each.linkname = str(rng.integers(1, 7)).encode(), elsewhere
            tar.addfile(each, io.BytesIO(data))
    return changed.getvalue()


def tensors_header(rng: Rng, content: bytes) -> bytes:
    """Let a safetensors file declare other tensors, or another header."""
    size = struct.unpack("<Q", content[:8])[0]
    if rng.random() < 0.2:
        other = [0, 1, size - 1, size + 1, 2**31, 2**60, 2**64 - 1][int(rng.integers(7))]
        return struct.pack("<Q", other) + content[8:]
    header = json.dumps(other_value(rng, json.loads(content[8 : 8 + size]))).encode()
    return struct.pack("<Q", len(header)) + header + content[8 + size :]


def other_tensor(rng: Rng, content: bytes) -> bytes:
    """Let a tensor of a safetensors file have other values, another shape or type, or be gone."""
    tensors = load(content)
    name, how = str(rng.choice([*tensors])), rng.random()
    changed = tensors.pop(name).clone()
    if how < 0.4 and changed.numel():
        values = NUMBERS if changed.is_floating_point() else (0, -1, 7, 2**62)
        at = int(rng.integers(changed.numel()))
        changed.view(-1)[at] = values[int(rng.integers(len(values)))]
    elif how < 0.6:
        kinds = (torch.float16, torch.float64, torch.int64, torch.bool, torch.complex64)
        changed = changed.to(kinds[int(rng.integers(len(kinds)))])
    elif how < 0.9:
        flat = changed.flatten()
        shapes = (changed[None], flat[:1].reshape(()), flat[:0], flat, flat[: len(flat) // 2])
        changed = shapes[int(rng.integers(len(shapes)))].contiguous()
    if how < 0.95:
        tensors[name] = changed
    return save(tensors)


def tensors_change(rng: Rng, content: bytes) -> bytes:
    """Change the header of a safetensors file, or a tensor."""
    return (tensors_header if rng.random() < 0.5 else other_tensor)(rng, content)


VALUES: dict[str, Change] = {
    ".json": json_value,
    ".jsonl": json_value,
    ".yaml": yaml_value,
    ".csv": cell,
    ".txt": cell,
    ".npy": npy_header,
    ".npz": npz_member,
    ".tar": tar_member,
    ".safetensors": tensors_change,
}


def change(rng: Rng, path: Path) -> str:
    """Change a file in place; returns how."""
    content, of_values = path.read_bytes(), VALUES.get(path.suffix)
    by_value = of_values is not None and rng.random() < 0.6
    how = of_values if of_values and by_value else BYTES[int(rng.integers(len(BYTES)))]
    path.write_bytes(how(rng, content))
    return how.__name__
