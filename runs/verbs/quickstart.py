"""The verb ``quickstart``: the main job, end to end, on the embedded digits or a user's clips."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console

from ...agents import PPOConfig, read_policy
from ...feature_cache import (
    GLANCE,
    CacheConfig,
    FeatureCache,
    build_cache,
    make_digits,
    read_videos,
    video_table,
)
from ...feature_cache.reading.roots import path_from
from ...recognizer import (
    AdaptiveRecognizer,
    Encoder,
    PatchGrid,
    Policy,
    option_group,
    read_bundle,
    read_classifier,
    read_encoder,
    torch_threads,
)
from ...recognizer.files.regular import file_digest
from ..configs.quickstart import QuickstartConfig
from ..evaluation.measured import read_measured
from ..evaluation.plug_back import compare_policies, recognizer_of
from ..evaluation.report import clear_report, write_report
from ..executors.local import LocalExecutor
from ..executors.units import Unit
from ..folders.run_folder import run_folder
from ..folders.steps import Steps, in_turn
from ..options.parse import UsageError, print_line, print_notes
from ..training.quickstart_steps import (
    classifier_config,
    fit_encoders,
    load_encoders,
    make_classifier,
    make_encoders,
    make_finetuned,
    make_policy,
)
from ..training.recipes import DIGITS, Recipe, clips
from ..training.stages import kept_of


@dataclass(frozen=True)
class VideoSet:
    """The videos of a run.

    Attributes:
        root: Their folder.
        videos: The table of videos.
        classes: Names of the C classes.
        boxes: True boxes of their frames, where there are any.
    """

    root: Path
    videos: pd.DataFrame
    classes: list[str]
    boxes: pd.DataFrame | None


def quickstart(config: QuickstartConfig, recipe: Recipe | None = None) -> dict[str, Any]:
    """Do the whole job and write the report.

    Args:
        config: From the command line.
        recipe: Sizes and hyper-parameters; None takes those for the digits or for clips.

    Returns:
        The content of ``results.json``.

    Raises:
        OutputError: If --out holds something else, such as a quickstart of another seed.
        VideoListError: If the list of videos has problems; all are named.
        VideoError: If a video cannot be read.
        WeightsError: If the weights do not fit MobileNet-V2.
    """
    recipe = recipe or (clips(config.preset) if config.videos else DIGITS)
    own = read_videos(config.videos) if config.videos else None
    if own is not None:
        print_notes(own)
    console = Console(stderr=config.json)
    with run_folder(config.out, "quickstart", config, {}, resume=None, may_change=("out",)):
        steps = Steps(config.out.resolve(), console)
        clear_report(config.out)
        data = (
            VideoSet(config.videos.resolve(), own.videos, own.classes, None)
            if own and config.videos
            else embedded_digits(steps, recipe, config.seed)
        )
        results = run_pipeline(steps, data, recipe, config, console)
    if config.json:
        print_line(json.dumps(results))
    return results


def embedded_digits(steps: Steps, recipe: Recipe, seed: int) -> VideoSet:
    """Make the embedded data set, or find it made."""
    if recipe.digits is None:
        raise UsageError("this recipe has no embedded data set: give --videos and --weights")
    digits = replace(recipe.digits, seed=seed)
    folder = steps.run("data", asdict(digits), lambda folder: make_digits(digits, folder))
    videos, boxes = (pd.read_csv(folder / name) for name in ("videos.csv", "boxes.csv"))
    for table in (videos, boxes):
        table["path"] = str(folder) + "/" + table["path"]
    listed = video_table(*(videos[name].tolist() for name in ("path", "label", "split")))
    return VideoSet(folder, listed, [str(digit) for digit in range(10)], boxes)


def run_pipeline(
    steps: Steps, data: VideoSet, recipe: Recipe, config: QuickstartConfig, console: Console
) -> dict[str, Any]:
    """Do all steps after the data: networks, cache, plug-back, report.

    Returns:
        The content of ``results.json``.
    """
    seed, n_classes = config.seed, len(data.classes)
    recipe_of = asdict(recipe)
    fitted = ("classifier", "skip_rate", "ppo", "finetune", "ppo_plus")
    training = {name: recipe_of.pop(name) for name in fitted}
    del recipe_of["processes"]  # decides no result
    depends_on = {
        "recipe": recipe_of,
        "seed": seed,
        "classes": data.classes,
        "weights": config.weights and file_digest(config.weights),
        "videos": [
            [path_from(str(data.root), path), label, split, Path(path).stat().st_size]
            for path, label, split in data.videos[["path", "label", "split"]].itertuples(
                index=False
            )
        ],
    }

    def at_once(function: Callable[..., None], calls: Mapping[str, tuple[Any, ...]]) -> None:
        processes = min(recipe.processes or os.cpu_count() or 1, len(calls))
        if processes > 1:
            units = {name: Unit(arguments) for name, arguments in calls.items()}
            LocalExecutor(processes)(function, units, " and ".join(calls))
        else:
            in_turn(function, calls)

    def encode(folder: Path) -> None:
        if config.weights is not None and recipe.from_weights is not None:
            fit_encoders(folder, recipe, data.root, config.weights, seed)
        elif config.weights is not None:
            load_encoders(folder, recipe, config.weights)
        else:
            make_encoders(folder, recipe, data.videos, n_classes, seed, at_once)

    encoders = steps.run("encoders", depends_on, encode)
    glance, local = read_encoder(encoders / "glance"), read_encoder(encoders / "local")
    grid = PatchGrid(recipe.frames.frame_px, recipe.patch_px, recipe.grid)

    def build(folder: Path) -> None:
        config = CacheConfig(recipe.frames, (option_group(grid, "local", local),))
        networks = {GLANCE: glance, "local": local}
        videos, root = data.videos, data.root
        build_cache(videos, data.classes, folder, networks, config, videos_root=root)

    cache = FeatureCache.open(steps.run("cache", {}, build))
    sizes = classifier_config(recipe, glance, local, n_classes)

    def classify(folder: Path) -> None:
        start = encoders / "classifier"
        with torch_threads(recipe.training_threads):
            make_classifier(folder, sizes, cache, start, recipe.classifier, recipe.skip_rate, seed)

    fits = {"fit": training["classifier"], "skip_rate": recipe.skip_rate}
    f_c = steps.run("classifier", fits, classify)

    def learn(config: PPOConfig) -> Callable[[Path], None]:
        return partial(
            make_policy,
            config=config,
            cache=cache.root,
            classifier=f_c,
            seed=seed,
            threads=recipe.training_threads,
        )

    pi, pi_plus = steps.run_together(
        {
            "policy": (training["ppo"], learn(recipe.ppo)),
            "policy_plus": (training["ppo_plus"], learn(recipe.ppo_plus)),
        },
        at_once,
    )
    policy, policy_plus = (read_policy(each, cache.fingerprint) for each in (pi, pi_plus))

    def finetune(folder: Path) -> None:
        with torch_threads(recipe.training_threads):
            make_finetuned(folder, cache, f_c, policy, recipe.finetune, recipe.skip_rate, seed)

    tuned = steps.run("finetuned", training["finetune"], finetune)
    for name in ("adafocus", "random"):
        if kept_of(tuned / name, read_bundle(tuned / name, "classifier")).epoch == 0:
            console.print(
                f"[yellow]finetuned/{name}: no epoch was better on the validation videos than f_C "
                "before; it is kept as it was, and its row repeats adafocus[/]"
            )

    def assemble(
        networks: tuple[Encoder, Encoder], classifier: Path, network: Policy
    ) -> AdaptiveRecognizer:
        f_c = read_classifier(classifier, cache.fingerprint)
        return recognizer_of(cache, networks, f_c, network)

    def plug_back(folder: Path) -> None:
        folder.mkdir()
        for name, classifier, network in (
            ("adafocus", tuned / "adafocus", policy),
            ("adafocus_plus", f_c, policy_plus),
        ):
            assemble((glance, local), classifier, network).save(folder / name, cache.fingerprint)

    steps.run("recognizers", {}, plug_back)

    def evaluate(folder: Path) -> None:
        fused = glance.fused(), local.fused()  # as the cache was built
        results, options = compare_policies(
            cache,
            learned=assemble(fused, f_c, policy),
            finetuned={
                "adafocus_finetuned": assemble(fused, tuned / "adafocus", policy),
                "random_finetuned": assemble(fused, tuned / "random", policy),
            },
            plus=assemble(fused, f_c, policy_plus),
            keep_ratio=recipe.keep_ratio,
            boxes=data.boxes,
            seed=seed,
        )
        folder.mkdir()
        (folder / "results.json").write_text(json.dumps(results, indent=2))
        np.save(content := BytesIO(), options)  # of a full disk numpy itself does not say so
        (folder / "options.npy").write_bytes(content.getvalue())

    evaluation = steps.run("evaluation", {}, evaluate)
    results, options = read_measured(evaluation, cache)
    results["seconds"] = steps.seconds
    write_report(results, cache, options, data.boxes, config, console)
    return results
