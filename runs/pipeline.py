"""The steps of the main job that train networks; each writes bundles into a folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from ..agents import PPOConfig, policy_options, train_policy, write_policy
from ..feature_cache import FeatureCache, clips_of, make_encoder, read_many
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
    read_classifier,
    write_bundle,
)
from .recipes import Recipe

STAGES = ("pixels", "cache", "finetune", "validation")


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
    skip_rate: float,
    seed: int,
) -> None:
    """Train f_C on the cache with random patches; go on from ``start`` where that bundle exists.

    Frames are skipped at ``skip_rate``, so that f_C knows what a zero local vector means. The epoch
    is selected on random patches of the validation videos, nothing skipped.
    """
    torch.manual_seed(seed)
    classifier = read_classifier(start) if start.exists() else build_classifier(config)
    held_out = cache.split("val")
    options = random_options(cache.n_options, (len(held_out), cache.steps), "validation", seed, 0)
    validation = cache.sequences(held_out, options)
    batches = random_batches(cache, "cache", skip_rate, seed)
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
    write_policy(folder, policy, cache, {"mean_return": returns[-1]})


def make_finetuned(
    folder: Path,
    cache: FeatureCache,
    classifier: Path,
    policy: PolicyNetwork,
    fit: FitConfig,
    skip_rate: float,
    seed: int,
) -> None:
    """Stage III: train f_C on π's patches; and, as a control, as long on random ones.

    Writes the bundles ``adafocus`` and ``random``. Both skip the same frames at ``skip_rate``, so
    that f_C does not forget what a skip is, and both are selected on π's patches of the validation
    videos, nothing skipped: they differ in the patches they were trained on and in nothing else.
    """
    train, held_out = cache.split("train"), cache.split("val")
    chosen = policy_options(policy, cache, train)
    validation = cache.sequences(held_out, policy_options(policy, cache, held_out))

    def draw(epoch: int) -> NDArray[np.int64]:
        return with_skips(chosen, cache.n_options, skip_rate, "finetune", seed, epoch)

    on_policy = batches_of(cache, draw, seed)
    on_random = random_batches(cache, "finetune", skip_rate, seed)
    folder.mkdir()
    for name, batches, title in (
        ("adafocus", on_policy, "stage III: f_C"),
        ("random", on_random, "control: f_C, random patches"),
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
    """Return random patches of a shape, uniform over the options.

    Keyed by (seed, stage, epoch), so that no stage sees what another one saw.
    """
    rng = np.random.default_rng([seed, STAGES.index(stage), epoch, 1])
    return rng.integers(n_options, size=shape)


def with_skips(
    options: NDArray[np.int64], n_options: int, rate: float, stage: str, seed: int, epoch: int
) -> NDArray[np.int64]:
    """Return options of which each is replaced by K, skip, with a probability.

    Keyed by (seed, stage, epoch), like the random patches, but drawn apart from them.

    Args:
        options: ``(B, T)``.
        n_options: K.
        rate: Of skipping, in [0, 1].
        stage: One of ``STAGES``.
        seed: The run's.
        epoch: From 0.

    Source: Ours. In AdaFocus (arXiv:2105.03245) f_C meets zero local vectors (Eq. 9) only once it
        is frozen, and what it makes of them is left to chance.
    """
    rng = np.random.default_rng([seed, STAGES.index(stage), epoch, 2])
    return np.where(rng.random(options.shape) < rate, n_options, options)


def random_batches(cache: FeatureCache, stage: str, skip_rate: float, seed: int) -> Batches:
    """Return batches of the training videos: random patches and skips, others in every epoch."""
    n_options, shape = cache.n_options, (len(cache.split("train")), cache.steps)

    def draw(epoch: int) -> NDArray[np.int64]:
        options = random_options(n_options, shape, stage, seed, epoch)
        return with_skips(options, n_options, skip_rate, stage, seed, epoch)

    return batches_of(cache, draw, seed)


def batches_of(cache: FeatureCache, draw: Callable[[int], NDArray[np.int64]], seed: int) -> Batches:
    """Return batches of the training videos, with the options ``(N, T)`` drawn for each epoch."""
    train, of_epoch = cache.split("train"), lru_cache(maxsize=1)(draw)
    return Batches(
        len(train), lambda epoch, rows: cache.sequences(train[rows], of_epoch(epoch)[rows]), seed
    )
