"""What a cache holds besides arrays: the table of rows, the manifest, the encoders."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from ...recognizer import Encoder, PatchGrid, encoder_gmacs, write_bundle
from .journal import NOTHING, RowFacts
from .roots import path_from, root_entry
from .rows import SKIPPED
from .store import fingerprint, group_fingerprint

ENCODERS = ("glance_encoder", "local_encoder")
FACTS = ("bytes", "decoder", "source", "checksum")  # what a build finds of each row
COLUMNS = [
    "name",
    "path",
    "label",
    "labels",
    "split",
    "start_s",
    "end_s",
    "images",
    "n_images",
    "view",
    *FACTS,
]


def write_tables(
    folder: Path,
    identity: Mapping[str, Any],
    grids: Sequence[PatchGrid],
    rows: pd.DataFrame,
    facts: Mapping[int, RowFacts],
    failures: Mapping[int, str],
    encoders: Mapping[str, Encoder],
    videos_root: str,
) -> None:
    """Write ``videos.csv``, the encoders' bundles and ``manifest.json`` into a folder of arrays.

    Args:
        folder: Where.
        identity: Everything that the content depends on before a file is opened.
        grids: The option groups.
        rows: The table of rows.
        facts: Of the rows that are on disk.
        failures: Why the others could not be read.
        encoders: ``glance_encoder`` and ``local_encoder``.
        videos_root: The folder, absolute, from which the table names the videos that are below it.
    """
    noted = [facts.get(row, NOTHING) for row in range(len(rows))]
    table = rows.assign(
        bytes=[found.bytes for found in noted],
        decoder=[found.decoder for found in noted],
        source=[found.source for found in noted],
        checksum=[found.checksum for found in noted],
        path=[path_from(videos_root, path) for path in rows["path"]],
        split=[SKIPPED if row in failures else split for row, split in enumerate(rows["split"])],
    )
    table[COLUMNS].to_csv(folder / "videos.csv", index=False)
    shared = {key: value for key, value in identity.items() if key not in ("grids", "shard")}
    depends_on = {**shared, "files": files_digest(table)}
    manifest = {
        "fingerprints": {grid.name: group_fingerprint(depends_on, grid) for grid in grids},
        "depends_on": depends_on,
        "grids": {grid.name: asdict(grid) for grid in grids},
        "shard": identity["shard"],
        "videos_root": root_entry(videos_root, folder),
        "glance_map_range": [
            min((found.low for found in facts.values()), default=0.0),
            max((found.high for found in facts.values()), default=0.0),
        ],
        "glance_gmacs": encoder_gmacs(encoders["glance_encoder"], grids[0].frame_px),
        "local_gmacs": {
            grid.name: encoder_gmacs(encoders["local_encoder"], grid.patch_px) for grid in grids
        },
        "decoders": dict(sorted(Counter(found.decoder for found in facts.values()).items())),
        "skipped": [
            {"row": row, "name": str(rows["name"][row]), "reason": reason}
            for row, reason in sorted(failures.items())
        ],
    }
    manifest["tables"] = tables_digest(manifest, table)
    for name, encoder in encoders.items():
        write_bundle(folder / name, "encoder", encoder.config, encoder)
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2))


def files_digest(table: pd.DataFrame) -> str:
    """Return the SHA-256 of what the video files hold; those that were skipped hold nothing."""
    return hashlib.sha256(table[["name", "source"]].to_csv(index=False).encode()).hexdigest()


def tables_digest(manifest: Mapping[str, Any], table: pd.DataFrame) -> str:
    """Return the SHA-256 of the manifest and of the table of rows, but for where the files are."""
    kept = [column for column in COLUMNS if column in table and column != "path"]
    rows = table[kept].to_csv(index=False)  # earlier versions have no column decoder
    away = ("tables", "skipped", "videos_root")
    content = {key: value for key, value in manifest.items() if key not in away}
    return fingerprint({**content, "rows": rows})
