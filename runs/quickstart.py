"""The verb ``quickstart``: the main job, end to end, on the embedded digits or a user's clips."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.console import Console

from ..agents import (
    Agent,
    CentralAgent,
    GaussianAgent,
    LearnedAgent,
    OracleAgent,
    RandomAgent,
    TrueBoxAgent,
    read_policy,
)
from ..envs import FocusEngine
from ..feature_cache import (
    FeatureCache,
    build_cache,
    make_digits,
    read_classifier,
    read_encoder,
    read_videos,
)
from ..recognizer import AdaptiveRecognizer, PatchGrid, frame_cost
from .config import QuickstartConfig
from .evaluation import Contender, parity, recognize_files, row_of
from .pipeline import (
    classifier_config,
    load_encoders,
    make_classifier,
    make_encoders,
    make_finetuned,
    make_policy,
)
from .recipes import CLIPS, DIGITS, Recipe
from .report import write_report
from .steps import Steps


def quickstart(config: QuickstartConfig, recipe: Recipe | None = None) -> dict[str, Any]:
    """Do the whole job and write the report.

    Args:
        config: From the command line.
        recipe: Sizes and hyper-parameters; None takes those for the digits or for clips.

    Returns:
        The content of ``results.json``.

    Raises:
        ValueError: If --videos and --weights are not given together.
        FileNotFoundError: If one of them does not exist.
        VideoListError: If the list of videos has problems; all are named.
        VideoError: If a video cannot be read.
    """
    console = Console()
    recipe = recipe or (CLIPS if config.videos else DIGITS)
    videos: pd.DataFrame
    if (config.videos is None) != (config.weights is None):
        raise ValueError(
            "--videos and --weights go together: your clips, and torchvision's MobileNet-V2 "
            "state dict that encodes them"
        )
    if config.weights is not None and not config.weights.is_file():
        raise FileNotFoundError(f"--weights: no such file: {config.weights}")
    listed = read_videos(config.videos, config.seed) if config.videos else None

    steps = Steps(config.out.resolve(), console)
    boxes: pd.DataFrame | None = None
    if listed is None:
        digits = recipe.digits
        if digits is None:
            raise ValueError("this recipe has no embedded data set: give --videos")
        digits = type(digits)(**{**asdict(digits), "seed": config.seed})
        data = steps.run("data", asdict(digits), lambda folder: make_digits(digits, folder))
        videos = pd.read_csv(data / "videos.csv")
        boxes = pd.read_csv(data / "boxes.csv")
        videos["path"] = [str(data / path) for path in videos["path"]]
        boxes["path"] = [str(data / path) for path in boxes["path"]]
        classes = [str(digit) for digit in range(10)]
    else:
        videos, classes = listed

    seed = config.seed
    on = {**asdict(recipe), "seed": seed, "weights": str(config.weights), "classes": classes}
    on["videos"] = [
        [path, label, split, Path(path).stat().st_size]
        for path, label, split in videos[["path", "label", "split"]].itertuples(index=False)
    ]

    def encode(folder: Path) -> None:
        if config.weights is not None:
            load_encoders(folder, recipe, config.weights)
        else:
            make_encoders(folder, recipe, videos, len(classes), seed)

    encoders = steps.run("encoders", on, encode)
    glance, local = read_encoder(encoders / "glance"), read_encoder(encoders / "local")
    grid = PatchGrid(recipe.frames.frame_px, recipe.patch_px, recipe.grid)
    cache = FeatureCache.open(
        steps.run(
            "cache",
            {},
            lambda folder: build_cache(videos, classes, folder, glance, local, grid, recipe.frames),
        )
    )
    sizes = classifier_config(recipe, glance, local, len(classes))
    f_c = steps.run(
        "classifier",
        {},
        lambda folder: make_classifier(
            folder, sizes, cache, encoders / "classifier", recipe.classifier, seed
        ),
    )
    pi = steps.run("policy", {}, lambda folder: make_policy(folder, recipe, cache, f_c, seed))
    policy = read_policy(pi, cache.fingerprint)
    tuned = steps.run(
        "finetuned",
        {},
        lambda folder: make_finetuned(folder, cache, f_c, policy, recipe.finetune, seed),
    )

    def evaluate(folder: Path) -> None:
        test = cache.split("test")
        engine = FocusEngine(cache, read_classifier(f_c, cache.fingerprint))
        recognizer, tuned_on_policy, tuned_on_random = (
            AdaptiveRecognizer(glance, local, read_classifier(path), grid, policy)
            for path in (f_c, tuned / "adafocus", tuned / "random")
        )
        cost = frame_cost(glance, local, recognizer.classifier, policy, grid)

        def gmacs(agent: Agent) -> float:
            return cost.per_video(
                cache.steps,
                policy=agent.runs_policy,
                patches=cache.n_options if agent.tries_all else 1,
            )

        learned = LearnedAgent(policy)
        agents: list[Agent] = [RandomAgent(seed), CentralAgent(), GaussianAgent(seed)]
        if boxes is not None:
            agents.append(TrueBoxAgent(true_centers(cache, boxes)))
        agents.append(OracleAgent())
        contenders = [
            Contender(a.name, recognizer, a.options(engine, test), gmacs(a)) for a in agents
        ]
        contenders[-1:-1] = [
            Contender("adafocus", recognizer, None, gmacs(learned)),
            Contender("adafocus_finetuned", tuned_on_policy, None, gmacs(learned)),
            Contender("random_finetuned", tuned_on_random, None, gmacs(learned)),
        ]
        outcomes = recognize_files(contenders, cache, test)
        labels = cache.labels[test]
        on_cache = engine.rollout(test, learned.options(engine, test))
        by_name = dict(zip((c.name for c in contenders), outcomes, strict=True))
        folder.mkdir()
        results = {
            "seed": seed,
            "split": "test",
            "n_videos": len(test),
            "steps": cache.steps,
            "policies": [
                row_of(c, o, labels) for c, o in zip(contenders, outcomes, strict=True)
            ],
            "parity": parity(by_name["adafocus"].logits, on_cache, labels),
        }
        (folder / "results.json").write_text(json.dumps(results, indent=2))
        np.save(folder / "options.npy", by_name["adafocus"].options.numpy())

    evaluation = steps.run("evaluation", {}, evaluate)
    results: dict[str, Any] = json.loads((evaluation / "results.json").read_text())
    results["seconds"] = steps.seconds
    centers = None if boxes is None else true_centers(cache, boxes)
    options = np.load(evaluation / "options.npy", allow_pickle=False)
    write_report(config.out, results, cache, options, boxes, pi, console)
    return results


def true_centers(cache: FeatureCache, boxes: pd.DataFrame) -> NDArray[np.float64]:
    """Return the centres ``(N, T, 2)`` of the true boxes in the cached frames, (x, y) in pixels."""
    frames = pd.DataFrame(
        {
            "path": np.repeat(cache.videos["path"].to_numpy(), cache.steps),
            "frame": cache.frame_indices(np.arange(cache.n_videos)).ravel(),
        }
    )
    found = frames.merge(boxes, how="left", on=["path", "frame"], validate="many_to_one")
    x = (found["left"] + found["right"]).to_numpy() / 2
    y = (found["top"] + found["bottom"]).to_numpy() / 2
    return np.stack([x, y], axis=-1).reshape(cache.n_videos, cache.steps, 2)
