"""The steps of the main job that train networks; each writes bundles into a folder."""

from __future__ import annotations

from dataclasses import asdict
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from ..agents import PPOConfig, policy_options, train_policy
from ..feature_cache import (
    FeatureCache,
    clips_of,
    make_encoder,
    read_classifier,
    read_many,
    write_bundle,
)
from ..recognizer import (
    Batches,
    ClassifierConfig,
    Encoder,
    FitConfig,
    PatchGrid,
    PolicyNetwork,
    build_classifier,
    encode_glance,
    fit_classifier,
    fit_encoder,
    fit_local,
)
from .recipes import Recipe

STAGES = ("pixels", "cache", "control", "validation")


def make_encoders(
    folder: Path, recipe: Recipe, videos: pd.DataFrame, n_classes: int, seed: int
) -> None:
    """Train both encoders on full frames, then f_L and f_C on random patches (stage I).

    Writes the bundles ``glance``, ``local`` and ``classifier``. All training frames are held in
    memory: this is for the embedded data set.
    """
    if recipe.full_frames is None or recipe.stage_one is None:
        raise ValueError("this recipe trains no encoders: give weights instead")
    torch.manual_seed(seed)
    train = videos[videos["split"] == "train"]
    decoded = tqdm(read_many(clips_of(train), recipe.frames), "decoding", len(train), unit="video")
    frames = torch.stack([pixels for pixels, _ in decoded])
    labels = torch.tensor(train["label"].to_numpy())

    glance, local = Encoder(recipe.glance), Encoder(recipe.local)
    full_frames = Batches(len(labels), lambda epoch, rows: (frames[rows], labels[rows]), seed)
    for encoder in (glance, local):
        fit_encoder(encoder, n_classes, full_frames, recipe.full_frames)

    with torch.no_grad():  # f_G is fixed from here on: its vectors are computed once
        vectors = torch.stack([encode_glance(glance, video, torch.float32)[1] for video in frames])
    grid = PatchGrid(recipe.frames.frame_px, recipe.patch_px, recipe.grid)
    classifier = build_classifier(classifier_config(recipe, glance, local, n_classes))

    shape = (len(labels), recipe.frames.steps)

    def random_patches(epoch: int, rows: Tensor) -> tuple[Tensor, ...]:
        options = torch.from_numpy(random_options(grid.n_options, shape, "pixels", seed, epoch))
        return frames[rows], vectors[rows], options[rows], labels[rows]

    batches = Batches(len(labels), random_patches, seed)
    fit_local(local, classifier, grid, batches, recipe.stage_one)
    folder.mkdir()
    write_bundle(folder / "glance", "encoder", glance.config, glance)
    write_bundle(folder / "local", "encoder", local.config, local)
    write_bundle(folder / "classifier", "classifier", classifier.config, classifier)


def load_encoders(folder: Path, recipe: Recipe, weights: Path) -> None:
    """Write the bundles ``glance`` and ``local``, both with the weights of one file.

    Raises:
        WeightsError: If the file holds no weights, or they do not fit.
    """
    configs = {"glance": recipe.glance, "local": recipe.local}
    encoders = {name: make_encoder(config, str(weights)) for name, config in configs.items()}
    folder.mkdir()
    for name, encoder in encoders.items():
        write_bundle(folder / name, "encoder", encoder.config, encoder)


def classifier_config(
    recipe: Recipe, glance: Encoder, local: Encoder, n_classes: int
) -> ClassifierConfig:
    """Return the sizes of f_C for two encoders."""
    return ClassifierConfig(
        glance.channels, local.channels, n_classes, recipe.hidden, recipe.dropout
    )


def make_classifier(
    folder: Path,
    config: ClassifierConfig,
    cache: FeatureCache,
    start: Path,
    fit: FitConfig,
    seed: int,
) -> None:
    """Train f_C on the cache with random patches; go on from ``start`` where that bundle exists."""
    torch.manual_seed(seed)
    classifier = read_classifier(start) if start.exists() else build_classifier(config)
    held_out = cache.split("val")
    options = random_options(cache.n_options, (len(held_out), cache.steps), "validation", seed, 0)
    validation = cache.sequences(held_out, options)
    batches = random_batches(cache, "cache", seed)
    kept = fit_classifier(classifier, batches, fit, validation, "f_C on the cache")
    write_bundle(
        folder,
        "classifier",
        classifier.config,
        classifier,
        cache.fingerprint,
        asdict(kept),
    )


def make_policy(
    folder: Path, config: PPOConfig, cache: FeatureCache, classifier: Path, seed: int
) -> None:
    """Stage II: train π and write its bundle."""
    policy, returns = train_policy(cache.root, classifier, config, seed)
    metrics = {"mean_return": returns[-1]}
    write_bundle(folder, "policy", policy.config, policy, cache.fingerprint, metrics)


def make_finetuned(
    folder: Path,
    cache: FeatureCache,
    classifier: Path,
    policy: PolicyNetwork,
    fit: FitConfig,
    seed: int,
) -> None:
    """Stage III: train f_C on π's patches; and, as a control, as long on random ones.

    Writes the bundles ``adafocus`` and ``random``. Both are selected on π's patches of the
    validation videos, so that they differ in what they were trained on and in nothing else.
    """
    train, held_out = cache.split("train"), cache.split("val")
    chosen = policy_options(policy, cache, train)
    validation = cache.sequences(held_out, policy_options(policy, cache, held_out))
    on_policy = Batches(
        len(train), lambda epoch, rows: cache.sequences(train[rows], chosen[rows]), seed
    )
    folder.mkdir()
    for name, batches, title in (
        ("adafocus", on_policy, "stage III: f_C"),
        ("random", random_batches(cache, "control", seed), "control: f_C, random patches"),
    ):
        torch.manual_seed(seed)
        network = read_classifier(classifier, cache.fingerprint)
        kept = fit_classifier(network, batches, fit, validation, title)
        write_bundle(
            folder / name,
            "classifier",
            network.config,
            network,
            cache.fingerprint,
            asdict(kept),
        )


def random_options(
    n_options: int, shape: tuple[int, ...], stage: str, seed: int, epoch: int
) -> NDArray[np.int64]:
    """Return random patches of a shape, uniform over the candidates.

    Keyed by (seed, stage, epoch), so that no stage sees what another one saw.
    """
    rng = np.random.default_rng([seed, STAGES.index(stage), epoch, 1])
    return rng.integers(n_options, size=shape)


def random_batches(cache: FeatureCache, stage: str, seed: int) -> Batches:
    """Return batches of the training videos with random patches, other ones in every epoch."""
    train = cache.split("train")
    draw = lru_cache(maxsize=1)(
        lambda epoch: random_options(cache.n_options, (len(train), cache.steps), stage, seed, epoch)
    )
    return Batches(
        len(train), lambda epoch, rows: cache.sequences(train[rows], draw(epoch)[rows]), seed
    )
