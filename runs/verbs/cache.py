"""The verb ``cache``: plan, build, verify, info, merge, headroom."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from rich.console import Console

from ...envs import FeatureSource, FocusEngine
from ...feature_cache import (
    CacheConfig,
    FeatureCache,
    VideoEncoder,
    build_cache,
    cache_info,
    merge_shards,
    plan_cache,
    read_manifest,
    verify_cache,
)
from ...feature_cache.building.encode import check_encoders
from ...recognizer import Encoder, format_gmacs, read_classifier
from ..comparison.headroom import measure_headroom, print_headroom
from ..configs.cache import (
    CacheBuildConfig,
    CacheHeadroomConfig,
    CacheInfoConfig,
    CacheMergeConfig,
    CachePlanConfig,
    CacheVerifyConfig,
    ContentConfig,
)
from ..executors import executor_of
from ..executors.caches import build_apart, device_of_cache, verify_apart
from ..executors.parts import parts_folder
from ..options.console import PlainConsole
from ..options.devices import device_of
from ..options.groups import groups_of_options
from ..options.parse import UsageError, augmentation, frames_of, print_line, usage, videos_of


def run_cache_verb(config: Any) -> None:
    """Do what one of the ``cache`` verbs says."""
    console = PlainConsole(soft_wrap=True)
    match config:
        case CachePlanConfig():
            plan(config, console)
        case CacheBuildConfig():
            build(config, console)
        case CacheVerifyConfig():
            verify(config, console)
        case CacheInfoConfig():
            info(config, console)
        case CacheMergeConfig():
            merge(config, console)
        case CacheHeadroomConfig():
            headroom(config)


def plan(config: CachePlanConfig, console: Console) -> None:
    """Print what a build would take; exit status 1 where something would be wrong."""
    encoders, content = _content(config.content, config.videos.format)
    listed = videos_of(config.videos, skip_missing=True)
    encoder = VideoEncoder(encoders, content)
    planned = plan_cache(listed.videos, config.out, encoder, config.sample)
    facts = {
        "cache": str(config.out),
        **asdict(planned),
        "total_bytes": planned.total_bytes,
        "hours": planned.hours,
        "option_gmacs": {group.name: group.gmacs for group in content.groups},
        "device": content.device,
        "workers": torch.get_num_threads(),
        "n_classes": len(listed.classes),
    }
    if config.json:
        _print_json(facts)
    else:
        _print_plan(facts, console)
    if planned.problems:
        raise SystemExit(1)


def build(config: CacheBuildConfig, console: Console) -> None:
    """Build a cache or a shard of one."""
    shard = _shard(config.shard)
    is_local = config.where.executor == "local"
    encoders, content = _content(config.content, config.videos.format, is_local)
    listed = videos_of(config.videos, config.videos.skip_missing)
    arguments = listed.videos, listed.classes, config.out, encoders, content
    options: dict[str, Any] = {
        "skip_missing": config.videos.skip_missing,
        "restart": config.restart,
        "videos_root": config.videos.videos.resolve(),  # as `read_lists` does: paths are below it
    }
    if is_local:
        root = build_cache(*arguments, shard=shard, **options)
    else:
        decoders, parts = config.decoders, parts_folder(config.out)
        where = executor_of(
            config.where,
            content.device,
            parts,
            one_cpu=decoders is not None,
            trust=config.trust,
        )
        with where as do:
            root = build_apart(do, *arguments, shards=config.shards, decoders=decoders, **options)
    if config.json:
        _print_json(_made(root))
    else:
        skipped = len(read_manifest(root)["skipped"])
        without = f", but for {skipped} rows that were skipped" if skipped else ""
        console.print(
            f"{root} is complete{without}; `focusgym cache info` tells what it is made of"
        )


def verify(config: CacheVerifyConfig, console: Console) -> None:
    """Check a cache; exit status 1 where something is wrong."""
    if config.where.executor == "local":
        wrong = verify_cache(config.cache, config.sample, config.seed, config.videos_root)
    else:
        device = device_of_cache(config.cache)
        with executor_of(config.where, device, may_lack_gpu=True, trust=config.trust) as do:
            wrong = verify_apart(do, config)
    if config.json:
        _print_json({"cache": str(config.cache), "problems": wrong})
    elif wrong:
        for sentence in wrong[:50]:
            console.print(sentence, style="red")
        console.print(f"{config.cache}: {len(wrong)} problem(s)")
    else:
        console.print(
            f"{config.cache}: all checksums right, all values finite, sample encoded alike"
        )
    if wrong:
        raise SystemExit(1)


def info(config: CacheInfoConfig, console: Console) -> None:
    """Print what a cache is made of."""
    facts, table = cache_info(config.cache)
    if config.json:
        manifest, splits = read_manifest(config.cache), table.to_dict("index")
        _print_json({"cache": str(config.cache), **manifest, "splits": splits})
    else:
        for name, value in facts.items():
            console.print(f"{name:14} {value}")
        with pd.option_context("display.max_rows", 100):
            console.print(table.to_string())


def merge(config: CacheMergeConfig, console: Console) -> None:
    """Join the shards of a cache."""
    merge_shards(config.parts, config.out)
    if config.json:
        _print_json({**_made(config.out), "shards": [str(path) for path in config.parts]})
    else:
        console.print(f"merged {len(config.parts)} shards into {config.out}")


def headroom(config: CacheHeadroomConfig) -> None:
    """Tell whether looking can pay on the videos of a cache."""
    cache = FeatureCache.open(config.cache, config.group, device_of(config.device))
    if cache.n_options < 2:
        raise UsageError(
            f"--group {cache.group.name}: it has one option, and where to look cannot be chosen: "
            f"give another of {', '.join(cache.groups)}, or build the cache with patches"
        )
    videos = cache.split("val")
    if len(videos) < 2:
        raise UsageError(
            f"{cache.root} has one video in the split val, and what is fitted to a video is "
            "measured on another: build the cache with more, some hundred tell something"
        )
    classifier = read_classifier(config.classifier, cache.fingerprint, cache.root)
    with usage():
        engine = FocusEngine(FeatureSource(cache, classifier))
    measured = measure_headroom(engine, videos, config.seed)
    if config.json:
        inputs = {"cache": str(config.cache), "classifier": str(config.classifier), "split": "val"}
        _print_json(inputs | measured)
    else:
        print_headroom(measured)


def _print_json(content: Mapping[str, Any]) -> None:
    print_line(json.dumps(content))


def _made(root: Path) -> dict[str, Any]:
    """Return what identifies a cache or a shard, and which rows are in it."""
    manifest, (_, table) = read_manifest(root), cache_info(root)
    return {
        "cache": str(root),
        "rows": table["rows"].to_dict(),
        "fingerprints": manifest["fingerprints"],
        "skipped": manifest["skipped"],
    }


def _print_plan(facts: Mapping[str, Any], console: Console) -> None:
    rows = ", ".join(f"{split} {n}" for split, n in facts["rows"].items())
    console.print(f"rows      {sum(facts['rows'].values())} ({rows}), {facts['n_classes']} classes")
    sizes = {**facts["array_bytes"], "weights of all encoders": facts["weights_bytes"]}
    for name, size in sizes.items():
        console.print(f"          {name:28} {size / 1e9:10.3f} GB")
    for name, gmacs in facts["option_gmacs"].items():
        console.print(f"group     {name}: {format_gmacs(gmacs)} per option")
    needed, free = facts["total_bytes"] / 1e9, facts["free_bytes"] / 1e9
    console.print(f"space     {needed:.3f} GB needed, {free:.1f} GB free")
    console.print(
        f"time      {facts['hours']:.2f} h on {facts['device']}, {facts['workers']} workers "
        f"({facts['seconds_per_row']:.2f} s per row, from {facts['sampled']} rows)"
    )
    for problem in facts["problems"][:50]:
        console.print(f"problem   {problem}", style="red")
    if facts["problems"]:
        console.print(f"{len(facts['problems'])} problem(s)")


def _content(
    config: ContentConfig, format: str | None, is_here: bool = True
) -> tuple[dict[str, Encoder], CacheConfig]:
    """Return all encoders by name, and what is stored of each video.

    Where videos are not encoded here, the GPUs are those of other machines.
    """
    is_elsewhere = config.device == "cuda" and not is_here
    device = config.device if is_elsewhere else device_of(config.device)
    frames = frames_of(config.frames, format)
    encoders, groups = groups_of_options(config, frames)
    with usage():
        augment = (
            augmentation(config.frames, format, config.views, config.seed) if config.views else None
        )
        content = CacheConfig(frames, groups, augment, config.dtype, device, config.precision)
        check_encoders(encoders, content)
        return encoders, content


def _shard(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None:
        raise UsageError(f"--shard must be i/n, such as 2/4; got {text!r}")
    return int(match[1]), int(match[2])
