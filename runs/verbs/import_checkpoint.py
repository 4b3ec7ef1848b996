"""The verb ``import-checkpoint``: a released checkpoint becomes bundles."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from ...feature_cache import GLANCE, CacheError, FeatureCache, in_short, read_checkpoint
from ...recognizer import (
    RELEASED_ENTRIES,
    RELEASED_V2_ENTRY,
    AdaptiveRecognizer,
    AFNetRecognizer,
    Boxes,
    FrameConfig,
    PatchGrid,
    Released,
    ReleasedReport,
    convert_released,
    convert_released_afnet,
    convert_released_sth,
    convert_released_v2,
    describe,
    format_gmacs,
    in_words,
    is_released_afnet,
    is_released_sth,
    is_released_v2,
    write_bundle,
)
from ...recognizer.files.regular import read_limited
from ...recognizer.limits import MOST_TEXT_BYTES
from ..configs.import_checkpoint import ImportConfig
from ..folders.atomic import check_free, output_folder
from ..options.parse import UsageError, print_line, usage

# The released code's: short side 256 by Pillow, central crop 224, patches on a 7×7 grid. That of
# AdaFocusV2 has boxes at any place, and reads the frames in another order.
FRAME_PX, RESIZE_PX, RESIZER, GRID, ORDER_V2 = 224, 256, "pillow", 7, "halving"
STEPS = 16  # of all but Something-Something, where a video is one clip
GLANCE_FRAMES = 8  # of that clip, where no policy tells
# AFNet's code makes frames 240×320; here the short side becomes 240, which for 4:3 is the same.
AFNET_RESIZE_PX = 240


def import_checkpoint(config: ImportConfig) -> None:
    """Write the bundles and ``report.json``, and tell what was used.

    Raises:
        UsageError: If an option is missing or not for such a checkpoint, or the sizes do not fit
            each other, or the list of classes the checkpoint.
        OutputError: If the output folder is there already, or cannot be written.
        WeightsError: If the checkpoint cannot be read safely, or is none of this kind.
        CacheError: If the cache is of other encoders, patches, frames or classes.
    """
    check_free(config.out)
    with usage():
        steps = STEPS if config.steps is None else config.steps
        frames = FrameConfig(steps, FRAME_PX, RESIZE_PX, resizer=RESIZER)
    classes = [] if config.classes is None else _class_names(config.classes)
    checkpoint = read_checkpoint(config.checkpoint, (*RELEASED_ENTRIES, RELEASED_V2_ENTRY))
    if is_released_afnet(checkpoint):
        _import_afnet(config, checkpoint, classes)
        return
    if config.shift is not None:
        raise UsageError(
            f"--shift {config.shift}: this is for AFNet; the file is none of its: leave it out"
        )
    places: PatchGrid | Boxes
    if is_released_v2(checkpoint):
        released, places = _adafocus_v2(config, checkpoint, steps)
        frames = replace(frames, order=ORDER_V2)
    elif is_released_sth(checkpoint):
        released, places, frames = _adafocus_sth(config, checkpoint, frames)
    else:
        released, places = _adafocus(config, checkpoint)
    _check_maps(released)
    _check_classes(config, classes, released.classifier.config.n_classes)
    cache = None if config.cache is None else _cache(config.cache, released, places, frames)
    fingerprint = None if cache is None else cache.fingerprint
    recognizer = AdaptiveRecognizer(
        released.glance,
        released.local,
        released.classifier,
        places,
        released.policy,
        torch.float32 if cache is None else cache.dtype,  # the released code rounds nothing
        frames=frames,
        classes=classes,
    )
    with output_folder(config.out) as folder:
        recognizer.save(folder / "recognizer", fingerprint)
        for name, encoder in (("glance", released.glance), ("local", released.local)):
            write_bundle(folder / name, "encoder", encoder.config, encoder)
        f_c, policy = released.classifier, released.policy
        write_bundle(folder / "classifier", "classifier", f_c.config, f_c, fingerprint)
        # On its own, a policy is for the options of a cache; V2's names places between them.
        if policy is not None and not places.names_centers:
            write_bundle(folder / "policy", "policy", policy.config, policy, fingerprint)
        report = {**asdict(released.report), "gmacs_per_frame": asdict(recognizer.cost)}
        (folder / "report.json").write_text(json.dumps(report, indent=2))
    cost = recognizer.cost.of_video(frames.steps, policy=released.policy is not None)
    if config.json:
        costs = {"steps": frames.steps, "gmacs_per_video": cost.total_gmacs}
        print_line(json.dumps({"out": str(config.out), **report, **costs}))
    else:
        _tell_report(config, released, frames, cost.total_gmacs)


def _import_afnet(config: ImportConfig, checkpoint: Mapping[str, Any], classes: list[str]) -> None:
    """Write the bundle of an AF network, which is one recognizer.

    Raises:
        UsageError: If an option is for other checkpoints, or the numbers of frames or classes
            differ from the checkpoint's.
        WeightsError: If it is no such checkpoint.
    """
    for option, value in (("patch", config.patch), ("cache", config.cache)):
        if value is not None:
            raise UsageError(f"--{option} {value}: an AF network reads whole frames: leave it out")
    network, report = convert_released_afnet(checkpoint, config.shift)
    sizes = network.config
    if config.steps not in (None, sizes.n_frames):
        raise UsageError(
            f"--steps {config.steps}: the checkpoint's gates are for {sizes.n_frames} frames: give "
            f"--steps {sizes.n_frames}, or leave it out"
        )
    _check_classes(config, classes, sizes.n_classes)
    frames = FrameConfig(
        sizes.n_frames, FRAME_PX, AFNET_RESIZE_PX, short_videos="repeat_first", resizer=RESIZER
    )
    recognizer = AFNetRecognizer(network, frames=frames, classes=classes)
    most = recognizer.cost.at_ratio(1.0, frames.steps)
    costs = {"gmacs_always": recognizer.cost.always_gmacs, "gmacs_all_kept": most}
    with output_folder(config.out) as folder:
        recognizer.save(folder / "recognizer")
        content = {**asdict(report), **costs}
        (folder / "report.json").write_text(json.dumps(content, indent=2))
    if config.json:
        print_line(json.dumps({"out": str(config.out), **content, "steps": frames.steps}))
        return
    _tell_parts(report)
    shift = "without temporal shift" if sizes.shift is None else "with temporal shift"
    print_line(
        f"{config.out}: a recognizer {shift} of {format_gmacs(costs['gmacs_always'])} to "
        f"{format_gmacs(most)} per video of {frames.steps} frames, as many as its gates keep"
    )


def _check_classes(config: ImportConfig, classes: list[str], n_classes: int) -> None:
    """Check that a list of classes, if there is one, has as many as a checkpoint.

    Raises:
        UsageError: If it has not.
    """
    if classes and len(classes) != n_classes:
        raise UsageError(
            f"--classes {config.classes} names {len(classes)} classes, the checkpoint has "
            f"{n_classes}: give the list that it was trained with"
        )


def _patch_of(config: ImportConfig) -> int:
    """Return the side of the patches.

    Raises:
        UsageError: If it is not given.
    """
    if config.patch is None:
        raise UsageError(
            "--patch: the file does not tell the side of the patches that it was trained with, "
            "pixels: give it, such as --patch 128"
        )
    return config.patch


def _adafocus(config: ImportConfig, checkpoint: Mapping[str, Any]) -> tuple[Released, PatchGrid]:
    """Return the networks of an AdaFocus checkpoint, and its options.

    Raises:
        UsageError: If the patches do not fit into frames, or their side is not given.
        WeightsError: If it is no such checkpoint.
    """
    with usage():
        grid = PatchGrid(FRAME_PX, _patch_of(config), GRID)
    released = convert_released(checkpoint)
    if "grid_n" in released.report.inferred:
        with usage():
            grid = replace(grid, n=int(released.report.inferred["grid_n"]))
    return released, grid


def _adafocus_v2(
    config: ImportConfig, checkpoint: Mapping[str, Any], steps: int
) -> tuple[Released, Boxes]:
    """Return the networks of an AdaFocusV2 checkpoint for videos of T steps, and its boxes.

    Raises:
        UsageError: If the boxes do not fit into frames, there are not as many heads as frames, or
            a cache is given.
        WeightsError: If it is no such checkpoint.
    """
    if config.cache is not None:
        raise UsageError(
            f"--cache {config.cache}: a cache holds the features of a grid's patches, AdaFocusV2 "
            "looks anywhere between them: leave --cache out"
        )
    with usage():
        boxes = Boxes(FRAME_PX, _patch_of(config))
    released = convert_released_v2(checkpoint)
    heads = released.report.inferred["steps"]
    if heads != steps:
        raise UsageError(
            f"--steps {steps}: the checkpoint has heads for 1 to {heads} frames: give "
            f"--steps {heads}"
        )
    return released, boxes


def _adafocus_sth(
    config: ImportConfig, checkpoint: Mapping[str, Any], frames: FrameConfig
) -> tuple[Released, Boxes, FrameConfig]:
    """Return the networks of a Something-Something checkpoint, its boxes, and its frames.

    Raises:
        UsageError: If the boxes do not fit into frames, several clips are asked for, a clip has no
            frame for f_L, or a cache is given.
        WeightsError: If it is no such checkpoint.
    """
    if config.cache is not None:
        raise UsageError(
            f"--cache {config.cache}: a cache holds the features of a grid's patches, this "
            "checkpoint looks anywhere between them: leave --cache out"
        )
    if config.steps not in (None, 1):
        raise UsageError(
            f"--steps {config.steps}: a video of Something-Something is one clip: leave it out"
        )
    with usage():
        boxes = Boxes(FRAME_PX, _patch_of(config), whole_pixels=True)
    released = convert_released_sth(checkpoint)
    with usage():
        frames = replace(
            frames,
            steps=1,
            short_videos="repeat_first",
            segment_frames=config.local_frames,
            glance_frames=int(released.report.inferred.get("glance_frames", GLANCE_FRAMES)),
            own_glance=True,
        )
    return released, boxes, frames


def _check_maps(released: Released) -> None:
    """Check that the policy, if any, reads the maps that f_G gives.

    Raises:
        UsageError: If it does not.
    """
    policy = released.policy
    if policy is None:
        return
    with torch.no_grad():
        segment = torch.zeros(1, 1, 3, FRAME_PX, FRAME_PX, dtype=torch.uint8)
        maps = released.glance(segment)
    expected, actual = (policy.config.map_height, policy.config.map_width), tuple(maps.shape[2:])
    if expected != actual:
        raise UsageError(
            f"the policy reads glance maps of {expected[0]}×{expected[1]}, frames of {FRAME_PX} px "
            f"give {actual[0]}×{actual[1]}: it was trained with another glance size, which this "
            "import does not know"
        )


def _tell_report(
    config: ImportConfig, released: Released, frames: FrameConfig, gmacs_per_video: float
) -> None:
    """Print what was used, what was left out, and what the recognizer costs."""
    report = released.report
    _tell_parts(report)
    if released.policy is None:
        print_line(
            "there is no policy in it, which is expected in an entry 'policy' (it holds "
            f"{', '.join(report.entries)}): the recognizer has to be told where to look"
        )
    read = " + ".join(str(frames.steps * count) for count in frames.counts)
    per_video = f"{format_gmacs(gmacs_per_video)} per video of {read} frames"
    print_line(f"{config.out}: a recognizer of {per_video}")


def _tell_parts(report: ReleasedReport) -> None:
    """Print what was used, what was left out, and what was read from names and shapes."""
    for entry, n in report.used.items():
        print_line(f"used      {entry}: {n} tensors")
    for what, why in report.left_out.items():
        print_line(f"left out  {what}: {why}")
    for name, value in report.inferred.items():
        print_line(f"inferred  {name} = {value}")


def _class_names(path: Path) -> list[str]:
    try:
        lines = read_limited(path, MOST_TEXT_BYTES).decode("utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise UsageError(
            f"--classes: {path} cannot be read as UTF-8 text ({in_words(error)})"
        ) from error
    names = [line.strip() for line in lines if line.strip()]
    if not names:
        raise UsageError(f"--classes: {path} names no class: give one in each line")
    return names


def _cache(
    path: Path, released: Released, places: PatchGrid | Boxes, frames: FrameConfig
) -> FeatureCache:
    """Open a cache of the released encoders.

    Raises:
        CacheError: If it is a cache of other encoders, has no such patches, or other classes.
    """
    cache = FeatureCache.open(path, places.name)
    for name, encoder in ((GLANCE, released.glance), (cache.group.encoder, released.local)):
        stored, described = cache.manifest["encoders"][name], describe(encoder)
        if stored != described:
            raise CacheError(
                f"{path} was made with the encoder {name}, {in_short(stored)}, the "
                f"checkpoint has {in_short(described)}: build a cache with the bundles that this "
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
