"""Joining shards that were built apart into one cache."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from ..reading.arrays import checksum, open_arrays, read_encoders, read_table
from ..reading.journal import RowFacts
from ..reading.manifest import CacheError, identity_in, is_complete, read_manifest
from ..reading.roots import VideosRoot, common_folder
from ..reading.tables import write_tables
from .encode import weights_bytes
from .writer import CacheWriter

_SHOWN = 10  # missing shards in a message


def merge_shards(shards: Sequence[str | os.PathLike[str]], root: str | os.PathLike[str]) -> Path:
    """Join all shards of one cache; byte for byte what one build would have written.

    An interrupted merge goes on where it was. The shards stay.

    Args:
        shards: Folders of all n shards, in any order.
        root: The cache's folder.

    Returns:
        ``root``.

    Raises:
        CacheError: If a shard is not complete, belongs to another cache, is there twice or is
            missing, if a row's checksum is wrong, or for the reasons of `build_cache`.
    """
    root = Path(root)
    parts = _in_order([Path(shard) for shard in shards])
    manifests = [read_manifest(part) for part in parts]
    identity = {**identity_in(manifests[0]), "shard": None}
    if is_complete(root, identity):
        return root
    tables = [
        read_table(part, manifest, with_facts=True)
        for part, manifest in zip(parts, manifests, strict=True)
    ]
    rows = pd.concat(tables, ignore_index=True)
    root_of_first = VideosRoot.find(parts[0], manifests[0], tables[0], None).folder
    below = root_of_first or common_folder(rows["path"].tolist())
    firsts = np.cumsum([0, *map(len, tables)]).tolist()
    failures = {
        first + skipped["row"]: skipped["reason"]
        for first, manifest in zip(firsts, manifests, strict=False)
        for skipped in manifest["skipped"]
    }
    groups = list(identity["groups"])
    opened = [
        open_arrays(part, manifest, groups, len(table))
        for part, manifest, table in zip(parts, manifests, tables, strict=True)
    ]
    arrays = opened[0]
    shapes = {name: (array.shape[1:], array.dtype) for name, array in arrays.items()}
    encoders = read_encoders(parts[0], manifests[0])
    of_weights = weights_bytes(*encoders.values())
    with CacheWriter(root, identity, shapes, len(rows), of_weights) as writer:
        progress = tqdm(_rows_of(parts, opened), "merge", len(rows), unit="video")
        for row, (where, features) in enumerate(progress):
            if row in failures or row in writer.rows:
                continue
            row_checksum = checksum(features)
            if row_checksum != rows["checksum"][row]:
                raise CacheError(
                    f"{where}: the checksum of {rows['name'][row]} is {row_checksum}, expected "
                    f"{rows['checksum'][row]}: the shard is damaged; build it again"
                )
            maps = features["glance_maps"]
            low, high = float(maps.min()), float(maps.max())
            source, decoder = rows["source"][row], rows["decoder"][row]
            size = int(rows["bytes"][row])
            writer.write(row, features, RowFacts(row_checksum, source, size, decoder, low, high))
        writer.sync()
        facts = dict(writer.rows)
        writer.finish(
            lambda folder: write_tables(folder, identity, rows, facts, failures, encoders, below)
        )
    return root


def _in_order(shards: list[Path]) -> list[Path]:
    """Return the shards by their number, after checking that they make one cache."""
    if not shards:
        raise CacheError("no shards were given: name the folders that `--shard i/n` built")
    by_number: dict[int, Path] = {}
    first = {**identity_in(read_manifest(shards[0])), "shard": None}
    numbers: set[int] = set()
    for path in shards:
        manifest = read_manifest(path)
        if manifest["shard"] is None:
            raise CacheError(f"{path} is a whole cache, not a shard: leave it out")
        part, parts = manifest["shard"]
        identity = {**identity_in(manifest), "shard": None}
        if identity != first:
            keys = first.keys() | identity.keys()
            other = sorted(key for key in keys if identity.get(key) != first.get(key))
            raise CacheError(
                f"{path} and {shards[0]} are of different caches ({', '.join(other)} differ): "
                "build all shards with the same videos and settings"
            )
        if part in by_number:
            raise CacheError(
                f"{path} and {by_number[part]} are both shard {part}/{parts}: give one"
            )
        by_number[part] = path
        numbers.add(parts)
    if len(numbers) > 1:
        raise CacheError(
            f"the shards are of {' and of '.join(map(str, sorted(numbers)))}: give all that were "
            "built together"
        )
    (n,) = numbers
    # A damaged manifest may name any number.
    missing = [
        *islice((f"{part}/{n}" for part in range(1, n + 1) if part not in by_number), _SHOWN)
    ]
    if missing:
        more = n - len(by_number) - len(missing)
        others = f" and {more} others" if more else ""
        raise CacheError(
            f"shard(s) {', '.join(missing)}{others} are not among those given: build them"
        )
    return [by_number[part] for part in sorted(by_number)]


def _rows_of(
    parts: list[Path], opened: list[dict[str, NDArray[Any]]]
) -> Iterator[tuple[Path, dict[str, NDArray[Any]]]]:
    for part, arrays in zip(parts, opened, strict=True):
        for row in range(len(arrays["flipped"])):
            yield part, {name: np.array(array[row]) for name, array in arrays.items()}
