"""The verb ``import-checkpoint``: a released AdaFocus checkpoint becomes bundles."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import torch

from ...feature_cache import GLANCE, CacheError, FeatureCache, in_short, read_checkpoint
from ...recognizer import (
    RELEASED_ENTRIES,
    AdaptiveRecognizer,
    FrameConfig,
    PatchGrid,
    Released,
    convert_released,
    describe,
    format_gmacs,
    in_words,
    write_bundle,
)
from ..configs.import_checkpoint import ImportConfig
from ..folders.atomic import check_free, whole
from ..options.parse import UsageError, tell, usage

# The released code's: short side 256 by Pillow, central crop 224, patches on a 7×7 grid.
FRAME_PX, RESIZE_PX, RESIZER, GRID = 224, 256, "pillow", 7


def import_checkpoint(config: ImportConfig) -> None:
    """Write the bundles and ``report.json``, and tell what was used.

    Raises:
        UsageError: If the sizes do not fit each other, or the list of classes the checkpoint.
        OutputError: If the output folder is there already, or cannot be written.
        WeightsError: If the checkpoint cannot be read safely, or is none of this kind.
        CacheError: If the cache is of other encoders, patches, frames or classes.
    """
    check_free(config.out)
    with usage():
        frames = FrameConfig(config.steps, FRAME_PX, RESIZE_PX, resizer=RESIZER)
        grid = PatchGrid(FRAME_PX, config.patch, GRID)
    classes = [] if config.classes is None else _class_names(config.classes)
    released = convert_released(read_checkpoint(config.checkpoint, RELEASED_ENTRIES))
    inferred = released.report.inferred
    if "grid_n" in inferred:
        with usage():
            grid = replace(grid, n=int(inferred["grid_n"]))
    if released.policy is not None and inferred["map_height"] != 7:
        side = inferred["map_height"]
        raise UsageError(
            f"the policy reads glance maps of {side}×{side}, frames of {FRAME_PX} px give 7×7: it "
            "was trained with another glance size, which this import does not know"
        )
    n_classes = released.classifier.config.n_classes
    if classes and len(classes) != n_classes:
        raise UsageError(
            f"--classes {config.classes} names {len(classes)} classes, the checkpoint has "
            f"{n_classes}: give the list that it was trained with"
        )
    cache = None if config.cache is None else _cache(config.cache, released, grid, frames)
    fingerprint = None if cache is None else cache.fingerprint
    recognizer = AdaptiveRecognizer(
        released.glance,
        released.local,
        released.classifier,
        grid,
        released.policy,
        torch.float32 if cache is None else cache.dtype,  # the released code rounds nothing
        frames=frames,
        classes=classes,
    )
    with whole(config.out) as folder:
        recognizer.save(folder / "recognizer", fingerprint)
        for name, encoder in (("glance", released.glance), ("local", released.local)):
            write_bundle(folder / name, "encoder", encoder.config, encoder)
        f_c, policy = released.classifier, released.policy
        write_bundle(folder / "classifier", "classifier", f_c.config, f_c, fingerprint)
        if policy is not None:
            write_bundle(folder / "policy", "policy", policy.config, policy, fingerprint)
        report = {**asdict(released.report), "gmacs_per_frame": asdict(recognizer.cost)}
        (folder / "report.json").write_text(json.dumps(report, indent=2))
    cost = recognizer.cost.of_video(config.steps, policy=released.policy is not None)
    if config.json:
        costs = {"steps": config.steps, "gmacs_per_video": cost.total_gmacs}
        tell(json.dumps({"out": str(config.out), **report, **costs}))
    else:
        _tell_report(config, released, cost.total_gmacs)


def _tell_report(config: ImportConfig, released: Released, gmacs_per_video: float) -> None:
    """Print what was used, what was left out, and what the recognizer costs."""
    report = released.report
    for entry, n in report.used.items():
        tell(f"used      {entry}: {n} tensors")
    for what, why in report.left_out.items():
        tell(f"left out  {what}: {why}")
    for name, value in report.inferred.items():
        tell(f"inferred  {name} = {value}")
    if released.policy is None:
        tell(
            "there is no policy in it, which is expected in an entry 'policy' (it holds "
            f"{', '.join(report.entries)}): the recognizer has to be told where to look"
        )
    per_video = f"{format_gmacs(gmacs_per_video)} per video of {config.steps} frames"
    tell(f"{config.out}: a recognizer of {per_video}")


def _class_names(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"--classes: {path} cannot be read as UTF-8 text ({in_words(error)})"
        ) from error
    names = [line.strip() for line in lines if line.strip()]
    if not names:
        raise UsageError(f"--classes: {path} names no class: give one in each line")
    return names


def _cache(path: Path, released: Released, grid: PatchGrid, frames: FrameConfig) -> FeatureCache:
    """Open a cache of the released encoders.

    Raises:
        CacheError: If it is a cache of other encoders, has no such patches, or other classes.
    """
    cache = FeatureCache.open(path, grid.name)
    for name, encoder in ((GLANCE, released.glance), (cache.group.encoder, released.local)):
        said, found = cache.manifest["encoders"][name], describe(encoder)
        if said != found:
            raise CacheError(
                f"{path} was made with the encoder {name}, {in_short(said)}, the "
                f"checkpoint has {in_short(found)}: build a cache with the bundles that this "
                "verb writes without --cache (--glance OUT/glance --group patches:OUT/local:SIDE)"
            )
    if cache.frames != frames:
        raise CacheError(
            f"{path} was made of {cache.frames}, the checkpoint is for {frames}: build a cache "
            f"with --steps {frames.steps} --frame {FRAME_PX} --resize {RESIZE_PX} --resizer "
            f"{RESIZER}, or give --steps"
        )
    n_classes = released.classifier.config.n_classes
    if cache.n_classes != n_classes:
        raise CacheError(
            f"{path} has {cache.n_classes} classes, the checkpoint {n_classes}: build a cache of "
            "the data set that it was trained on"
        )
    return cache
