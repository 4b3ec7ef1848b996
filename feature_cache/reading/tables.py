"""What a cache holds besides arrays: the table of rows, the manifest, the encoders."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ...recognizer import Encoder, FrameConfig, encoder_gmacs, write_bundle
from .arrays import ENCODERS
from .journal import NOTHING, RowFacts
from .manifest import GLANCE, fingerprint, group_fingerprint
from .roots import path_from, root_entry
from .rows import SKIPPED

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
    rows: pd.DataFrame,
    facts: Mapping[int, RowFacts],
    failures: Mapping[int, str],
    encoders: Mapping[str, Encoder],
    videos_root: str,
) -> None:
    """Write ``videos.csv``, the encoders' bundles and ``manifest.json`` into a folder of arrays.

    Args:
        folder: Folder of the cache, to which they are written.
        identity: Everything that the content depends on before a file is opened.
        rows: The table of rows.
        facts: Of the rows that are on disk.
        failures: Why the others could not be read.
        encoders: All encoders by name, f_G as ``glance``.
        videos_root: The folder, absolute, from which the table names the videos that are below it.
    """
    noted = [facts.get(row, NOTHING) for row in range(len(rows))]
    table = rows.assign(
        bytes=[row_facts.bytes for row_facts in noted],
        decoder=[row_facts.decoder for row_facts in noted],
        source=[row_facts.source for row_facts in noted],
        checksum=[row_facts.checksum for row_facts in noted],
        path=[path_from(videos_root, path) for path in rows["path"]],
        split=[SKIPPED if row in failures else split for row, split in enumerate(rows["split"])],
    )
    table[COLUMNS].to_csv(folder / "videos.csv", index=False)
    frames = FrameConfig(**identity["frames"])
    apart = ("groups", "encoders", "shard")
    shared = {key: value for key, value in identity.items() if key not in apart}
    content = {
        "depends_on": {**shared, "files": files_digest(table)},
        "encoders": identity["encoders"],
        "groups": identity["groups"],
    }
    manifest = {
        "fingerprints": {name: group_fingerprint(content, name) for name in content["groups"]},
        **content,
        "shard": identity["shard"],
        "videos_root": root_entry(videos_root, folder),
        "glance_map_range": [
            min((row_facts.low for row_facts in facts.values()), default=0.0),
            max((row_facts.high for row_facts in facts.values()), default=0.0),
        ],
        "glance_gmacs": encoder_gmacs(encoders[GLANCE], frames.frame_px, len(frames.glanced)),
        "decoders": dict(
            sorted(Counter(row_facts.decoder for row_facts in facts.values()).items())
        ),
        "skipped": [
            {"row": row, "name": str(rows["name"][row]), "reason": reason}
            for row, reason in sorted(failures.items())
        ],
    }
    manifest["tables"] = tables_digest(manifest, table)
    (folder / ENCODERS).mkdir(exist_ok=True)
    for name, encoder in encoders.items():
        write_bundle(folder / ENCODERS / name, "encoder", encoder.config, encoder)
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2))


def files_digest(table: pd.DataFrame) -> str:
    """Return the SHA-256 of what the video files hold; those that were skipped hold nothing."""
    return hashlib.sha256(table[["name", "source"]].to_csv(index=False).encode()).hexdigest()


def tables_digest(manifest: Mapping[str, Any], table: pd.DataFrame) -> str:
    """Return the SHA-256 of the manifest and of the table of rows, but for where the files are."""
    rows = table[[column for column in COLUMNS if column != "path"]].to_csv(index=False)
    away = ("tables", "skipped", "videos_root")
    content = {key: value for key, value in manifest.items() if key not in away}
    return fingerprint({**content, "rows": rows})
