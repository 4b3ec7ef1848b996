"""The verb ``import-checkpoint``: a released AdaFocus checkpoint becomes bundles."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import torch
from rich.console import Console

from ..feature_cache import CacheError, FeatureCache, read_checkpoint
from ..recognizer import (
    RELEASED_ENTRIES,
    AdaptiveRecognizer,
    FrameConfig,
    PatchGrid,
    Released,
    convert_released,
    describe,
    write_bundle,
)
from .options import UsageError, usage
from .recognize_config import ImportConfig
from .steps import OutputError

# The released code's: short side 256, central crop 224, patches on a 7×7 grid.
FRAME_PX, RESIZE_PX, GRID = 224, 256, 7


def import_checkpoint(config: ImportConfig) -> None:
    """Write the bundles and ``report.json``, and tell what was used.

    Raises:
        UsageError: If the sizes do not fit each other, or the list of classes the checkpoint.
        OutputError: If the output folder is there already.
        WeightsError: If the checkpoint cannot be read safely, or is none of this kind.
        CacheError: If the cache is of other encoders.
    """
    if config.out.exists():
        raise OutputError(f"{config.out} exists: give another folder, or remove it")
    with usage():
        frames = FrameConfig(config.steps, FRAME_PX, RESIZE_PX)
        grid = PatchGrid(FRAME_PX, config.patch, GRID)
    released = convert_released(read_checkpoint(config.checkpoint, RELEASED_ENTRIES))
    inferred = released.report.inferred
    if "grid_n" in inferred:
        grid = replace(grid, n=int(inferred["grid_n"]))
    if released.policy is not None and inferred["map_height"] != 7:
        side = inferred["map_height"]
        raise UsageError(
            f"the policy reads glance maps of {side}×{side}, frames of {FRAME_PX} px give 7×7: it "
            "was trained with another glance size, which this import does not know"
        )
    classes = _classes(config, released.classifier.config.n_classes)
    fingerprint = None if config.cache is None else _fingerprint(config.cache, released, grid)
    recognizer = AdaptiveRecognizer(
        released.glance,
        released.local,
        released.classifier,
        grid,
        released.policy,
        torch.float32,  # the released code rounds nothing
        frames=frames,
        classes=classes,
    )
    partial = config.out.with_name(f"{config.out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    recognizer.save(partial / "recognizer", fingerprint)
    for name, encoder in (("glance", released.glance), ("local", released.local)):
        write_bundle(partial / name, "encoder", encoder.config, encoder)
    f_c, policy = released.classifier, released.policy
    write_bundle(partial / "classifier", "classifier", f_c.config, f_c, fingerprint)
    if policy is not None:
        write_bundle(partial / "policy", "policy", policy.config, policy, fingerprint)
    report = {**asdict(released.report), "gmacs_per_frame": asdict(recognizer.cost)}
    (partial / "report.json").write_text(json.dumps(report, indent=2))
    partial.rename(config.out)
    tell(config.out, released, recognizer)


def tell(out: Path, released: Released, recognizer: AdaptiveRecognizer) -> None:
    """Print what was used, what was left out, and what the recognizer costs."""
    console = Console(markup=False, highlight=False, soft_wrap=True)
    report = released.report
    for entry, n in report.used.items():
        console.print(f"used      {entry}: {n} tensors")
    for what, why in report.left_out.items():
        console.print(f"left out  {what}: {why}")
    for name, value in report.inferred.items():
        console.print(f"inferred  {name} = {value}")
    if released.policy is None:
        console.print("there is no policy in it: the recognizer has to be told where to look")
    steps = recognizer.frames.steps if recognizer.frames else 0
    cost = recognizer.cost.of_video(steps, policy=released.policy is not None)
    console.print(
        f"{out}: a recognizer of {cost.total_gmacs:.2f} GMACs per video of {steps} frames"
    )


def _classes(config: ImportConfig, n_classes: int) -> list[str]:
    if config.classes is None:
        return []
    if not config.classes.is_file():
        raise UsageError(f"--classes: no such file: {config.classes}")
    names = config.classes.read_text(encoding="utf-8").splitlines()
    if len(names) != n_classes:
        raise UsageError(
            f"--classes {config.classes} names {len(names)} classes, the checkpoint has "
            f"{n_classes}: give the list that it was trained with"
        )
    return names


def _fingerprint(path: Path, released: Released, grid: PatchGrid) -> str:
    """Return the fingerprint of a cache of the released encoders.

    Raises:
        CacheError: If it is a cache of other encoders, or has no such patches.
    """
    cache = FeatureCache.open(path, grid.name)
    for name, encoder in (("glance_encoder", released.glance), ("local_encoder", released.local)):
        said, found = cache.manifest["depends_on"][name], describe(encoder)
        if said != found:
            raise CacheError(
                f"{path} was made with the {name.replace('_', ' ')} {said}, the checkpoint has "
                f"{found}: build a cache with the weights of the bundles that this verb writes "
                "without --cache (glance/weights.safetensors, local/weights.safetensors)"
            )
    return cache.fingerprint
