"""Plugging policies back: recognizers read the test videos, and are compared with each other."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from ...agents import (
    Agent,
    CentralAgent,
    GaussianAgent,
    LearnedAgent,
    OracleAgent,
    RandomAgent,
    TrueBoxAgent,
    UniformFramesAgent,
)
from ...envs import FeatureSource, FocusEngine, Plan
from ...feature_cache import FeatureCache, read_many
from ...recognizer import (
    AdaptiveRecognizer,
    Boxes,
    Classifier,
    Encoder,
    FrameCost,
    Places,
    Policy,
    Recognition,
    confidence,
)
from .measures import measures

BATCH = 16
CENTRAL = -1  # the view of a row that is no augmented copy


@dataclass(frozen=True)
class Contender:
    """A row of the table.

    Attributes:
        name: Name of the row.
        recognizer: What runs on the pixels.
        plan: What is done in its videos; None lets the recognizer's policy choose.
        cost: Of its networks on one frame.
        runs_policy: Whether the policy network's compute is charged.
        patches: Patches that f_L and f_C are charged for, per frame that is looked at.
    """

    name: str
    recognizer: AdaptiveRecognizer
    plan: Plan | None
    cost: FrameCost
    runs_policy: bool
    patches: int


def compare_policies(
    cache: FeatureCache,
    learned: AdaptiveRecognizer,
    finetuned: dict[str, AdaptiveRecognizer],
    plus: AdaptiveRecognizer,
    keep_ratio: float,
    boxes: pd.DataFrame | None,
    seed: int,
) -> tuple[dict[str, Any], NDArray[np.int64]]:
    """Measure every policy on the video files of the test split.

    Args:
        cache: The feature cache, with a test split.
        learned: The recognizer with π and the f_C that π was trained with.
        finetuned: The same with other f_C, by the name of their row.
        plus: The recognizer with π and π′ of AdaFocus+, and the f_C of ``learned``.
        keep_ratio: Share of the frames that its control looks at: as many in every video, spread
            uniformly, where π of ``learned`` says.
        boxes: Table of true boxes (``path``, ``frame``, ``left``, …), where there are any.
        seed: Of the random and the Gaussian policy.

    Returns:
        The rows of ``results.json`` and the parity figures; and the options ``(B, T)`` of
        ``learned``.
    """
    test = cache.split("test")
    engine = FocusEngine(FeatureSource(cache, learned.classifier))
    agent, plus_agent = LearnedAgent(policy_of(learned)), LearnedAgent(policy_of(plus))
    cost, plus_cost = learned.cost, plus.cost

    def planned(agent: Agent) -> Contender:
        patches = cache.n_options if agent.tries_all else 1
        plan = agent.plan(engine, test)
        return Contender(agent.name, learned, plan, cost, agent.runs_policy, patches)

    def choosing(name: str, recognizer: AdaptiveRecognizer, cost: FrameCost) -> Contender:
        return Contender(name, recognizer, None, cost, runs_policy=True, patches=1)

    fixed: list[Agent] = [RandomAgent(seed), CentralAgent(), GaussianAgent(seed)]
    bounds: list[Agent] = [OracleAgent()]
    if boxes is not None:
        bounds.insert(0, TrueBoxAgent(true_centers(cache, boxes)))
    uniform = UniformFramesAgent(round(keep_ratio * cache.steps), agent)

    contenders = [
        *(planned(agent) for agent in fixed),
        *(choosing(name, r, cost) for name, r in {agent.name: learned, **finetuned}.items()),
        choosing(plus_agent.name, plus, plus_cost),
        replace(planned(uniform), name="uniform_frames"),
        *(planned(agent) for agent in bounds),
    ]
    recognitions = dict(
        zip((c.name for c in contenders), recognize_files(contenders, cache, test), strict=True)
    )
    labels = cache.labels[test]
    parities = []
    for learner in (agent, plus_agent):
        plan = learner.plan(engine, test)
        on_cache = engine.rollout(test, plan.options, plan.attended)
        parities.append(parity(recognitions[learner.name].logits, on_cache, labels))
    results = {
        "seed": seed,
        "split": "test",
        "n_videos": len(test),
        "steps": cache.steps,
        "policies": [row_of(c, recognitions[c.name], labels) for c in contenders],
        "parity": worst_parity(parities),
    }
    return results, recognitions[agent.name].options.cpu().numpy()


def policy_of(recognizer: AdaptiveRecognizer) -> Policy:
    """Return the recognizer's policy.

    Raises:
        ValueError: If it has none that chooses among options.
    """
    if recognizer.policy is None or recognizer.policy.names_centers:
        raise ValueError(
            "expected a recognizer with a policy that chooses among options; got one without: "
            "assemble it with π"
        )
    return recognizer.policy


def recognizer_of(
    cache: FeatureCache,
    encoders: tuple[Encoder, Encoder],
    classifier: Classifier,
    policy: Policy | None,
) -> AdaptiveRecognizer:
    """Assemble the recognizer of a policy that was trained on a cache.

    Args:
        cache: It says what the recognizer reads, where it looks and what the classes are.
        encoders: f_G and f_L, fused as the cache was built, or as they are kept in bundles.
        classifier: f_C.
        policy: π, and π′ where it has one. One that names centres looks at boxes of the size of the
            cache's patches. None where there is one option.
    """
    places: Places = cache.places
    if policy is not None and policy.names_centers:
        places = Boxes(places.frame_px, places.side_px)
    return AdaptiveRecognizer(
        *encoders,
        classifier,
        places,
        policy,
        cache.dtype,
        frames=cache.frames,
        classes=cache.classes,
    ).to(cache.device)


def recognize_files(
    contenders: list[Contender], cache: FeatureCache, videos: NDArray[np.int64]
) -> list[Recognition]:
    """Run every contender on the video files of cached videos; each file is decoded once.

    Args:
        contenders: The policies and agents that are compared.
        cache: Says where the files are and which frames are read.
        videos: ``(B,)`` rows of the cache.

    Returns:
        One recognition per contender, rows in the order of ``videos``.

    Raises:
        VideoError: If a video is gone, another one, or cannot be read.
    """
    clips = cache.clips(videos)
    seen: list[list[Recognition]] = [[] for _ in contenders]
    decoded = iter(tqdm(read_many(clips, cache.frames), "plug-back", len(clips), unit="video"))
    start = 0
    while batch := [pixels for pixels, _ in islice(decoded, BATCH)]:
        rows = slice(start, start + len(batch))
        for contender, recognitions in zip(contenders, seen, strict=True):
            plan = contender.plan
            looks = () if plan is None else (plan.options[rows], plan.attended[rows])
            recognitions.append(contender.recognizer(torch.stack(batch), *looks))
        start += len(batch)
    return [Recognition.join(recognitions) for recognitions in seen]


def row_of(contender: Contender, recognition: Recognition, labels: Tensor) -> dict[str, Any]:
    """Return the row of ``results.json``: `measures`, and the GMACs by network."""
    attended = recognition.attended.cpu().numpy()
    row = measures(contender.name, recognition.logits, labels, attended)
    gmacs = contender.cost.of_video(
        attended.shape[1],
        policy=contender.runs_policy,
        patches=contender.patches,
        kept_share=row["kept_share"],
    )
    return row | {"gmacs_per_video": gmacs.total_gmacs, "gmacs_by_network": asdict(gmacs)}


def parity(on_pixels: Tensor, on_cache: Tensor, labels: Tensor) -> dict[str, float]:
    """Compare two ways to the same predictions.

    Args:
        on_pixels: ``(B, T, C)`` logits of the recognizer.
        on_cache: ``(B, T, C)`` logits of the environment's engine.
        labels: ``(B,)``.

    Returns:
        ``max_abs_confidence_difference`` on the true label, and ``prediction_agreement``, the
        share of (video, step) pairs with the same top class.
    """
    difference = confidence(on_pixels, labels) - confidence(on_cache, labels)
    agreement = (on_pixels.argmax(dim=-1) == on_cache.argmax(dim=-1)).to(torch.float64)
    return {
        "max_abs_confidence_difference": float(difference.abs().max()),
        "prediction_agreement": float(agreement.mean()),
    }


def worst_parity(parities: list[dict[str, float]]) -> dict[str, float]:
    """Return the largest difference and the smallest agreement of several comparisons."""
    return {
        "max_abs_confidence_difference": max(p["max_abs_confidence_difference"] for p in parities),
        "prediction_agreement": min(p["prediction_agreement"] for p in parities),
    }


def true_boxes(cache: FeatureCache, boxes: pd.DataFrame) -> pd.DataFrame:
    """Return the true box of every cached segment, ``N*T`` rows, video by video.

    It is that of the middle frame where a segment has several. Frames of augmented copies have
    none: they are cropped and mirrored in another way.

    Args:
        cache: The feature cache.
        boxes: ``path``, ``frame`` (index in the file), ``left``, ``top``, ``right``, ``bottom``
            (pixels of the central crop S×S), ``visible``.
    """
    indices = cache.frame_indices(np.arange(cache.n_videos))
    middle = cache.frames.middle(indices.reshape(-1, *indices.shape[2:]))
    return boxes_of_frames(cache.videos, middle.reshape(-1, cache.steps), boxes)


def boxes_of_frames(
    videos: pd.DataFrame, indices: NDArray[np.int64], boxes: pd.DataFrame
) -> pd.DataFrame:
    """Return the true box of every frame, ``B*T`` rows, video by video.

    Args:
        videos: B rows with ``path`` and ``view``, which is −1 where a video is no augmented copy.
        indices: ``(B, T)`` of the frames in their video files.
        boxes: See `true_boxes`.
    """
    keys, steps = ["path", "frame", "view"], indices.shape[1]
    frames = pd.DataFrame(
        {
            "path": np.repeat(_real(videos["path"]), steps),
            "frame": indices.ravel(),
            "view": np.repeat(videos["view"].to_numpy(), steps),
        }
    )
    central = boxes.assign(view=CENTRAL, path=_real(boxes["path"]))
    return frames.merge(central, how="left", on=keys, validate="many_to_one")


def _real(paths: pd.Series[str]) -> NDArray[np.object_]:
    """Return the names of files, in folders without symbolic links: one name for one file."""
    folders = {each: os.path.realpath(each) for each in {os.path.dirname(path) for path in paths}}
    real = [os.path.join(folders[os.path.dirname(p)], os.path.basename(p)) for p in paths]
    return np.array(real, dtype=object)


def true_centers(cache: FeatureCache, boxes: pd.DataFrame) -> NDArray[np.float64]:
    """Return the centres ``(N, T, 2)`` of the true boxes in the cached frames, (x, y) in pixels.

    They are NaN where no box is known; see `true_boxes`.
    """
    frame_boxes = true_boxes(cache, boxes)
    x = (frame_boxes["left"] + frame_boxes["right"]).to_numpy() / 2
    y = (frame_boxes["top"] + frame_boxes["bottom"]).to_numpy() / 2
    return np.stack([x, y], axis=-1).reshape(cache.n_videos, cache.steps, 2)
