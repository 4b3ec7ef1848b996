"""What a cache is made of, for people to read."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd

from ...recognizer import FrameConfig, format_gmacs
from ..reading.arrays import open_arrays, read_table
from ..reading.manifest import in_short, read_manifest, stored_groups
from ..reading.roots import VideosRoot
from .encode import config_of


def cache_info(path: str | os.PathLike[str]) -> tuple[dict[str, str], pd.DataFrame]:
    """Describe a cache or a shard.

    Args:
        path: Folder of the cache.

    Returns:
        Facts by name; and a table of splits: rows, videos, classes, video bytes.

    Raises:
        CacheError: If there is no complete cache.
    """
    root = Path(path)
    manifest = read_manifest(root)
    rows = read_table(root, manifest, with_facts=True)
    config, depends_on = config_of(manifest), manifest["depends_on"]
    groups = stored_groups(manifest)
    arrays = open_arrays(root, manifest, groups, len(rows))
    frames, augment = config.frames, config.augment
    videos = VideosRoot.find(root, manifest, rows, None)
    facts = {
        "cache": str(root),
        "videos": " or ".join(videos.tried) or "each by its whole path",
        **({"shard": "{}/{}".format(*manifest["shard"])} if manifest["shard"] else {}),
        "frames": f"{_segments(frames)} of {frames.frame_px} px, short side "
        f"{f'{frames.resize_px} by {frames.resizer}' if frames.resize_px else 'as it is'}, "
        f"short videos {frames.short_videos}",
        "views": f"{augment.views}, flip {augment.flip}, seed {augment.seed}"
        if augment
        else "none",
        "classes": str(len(depends_on["classes"])),
        "dtype": f"{config.dtype}, encoded on {depends_on['device']} in "
        f"{depends_on.get('precision', 'float32')}",
    }
    for name, described in manifest["encoders"].items():
        facts[f"encoder {name}"] = in_short(described)
    decoders = manifest["decoders"].items()
    facts["decoders"] = ", ".join(f"{name} {n}" for name, n in decoders) or "none"
    facts["libraries"] = ", ".join(f"{k} {v}" for k, v in depends_on["libraries"].items())
    per = "frame" if frames.read_frames == 1 else "segment"
    facts["glance"] = f"{format_gmacs(manifest['glance_gmacs'])} per {per}"
    facts |= {
        f"group {name}": f"K = {group.places.n_options} read at {group.places.side_px} px by "
        f"{group.encoder}, L = {group.channels}, {format_gmacs(group.gmacs)} each, fingerprint "
        f"{manifest['fingerprints'][name]}"
        for name, group in groups.items()
    }
    facts |= {
        name: f"{array.shape} {array.dtype}, {array.nbytes / 1e9:.3f} GB"
        for name, array in arrays.items()
    }
    facts |= {f"skipped {each['name']}": each["reason"] for each in manifest["skipped"]}
    table = rows.groupby("split", sort=False).agg(
        rows=("name", "size"),
        videos=("path", "nunique"),
        classes=("label", "nunique"),
    )
    files = rows.drop_duplicates("path").groupby("split")["bytes"].sum()
    table["video_MB"] = (files / 1e6).round(1)
    return facts, table


def _segments(frames: FrameConfig) -> str:
    """Return how many frames a video has, and how many the glance reads, of them or others."""
    if frames.read_frames == 1:
        return str(frames.steps)
    whose = "of its own" if frames.own_glance else "of them"
    glanced = f"the glance reads {len(frames.glanced)} {whose}"
    return f"{frames.steps} segments of {frames.segment_frames} frames, {glanced}, each"
