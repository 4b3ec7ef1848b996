"""The steps of the main job that train networks; each writes bundles into a folder."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from ...agents import PPOConfig, write_policy
from ...agents.train import make_model, train_model, trained_penalty
from ...feature_cache import FeatureCache, clips_of, make_encoder, read_many
from ...recognizer import (
    Classifier,
    ClassifierConfig,
    Encoder,
    FitConfig,
    Fitted,
    FullFrames,
    OnFeatures,
    OnPixels,
    PatchGrid,
    PolicyNetwork,
    TensorSamples,
    build_classifier,
    fit,
    read_classifier,
    uniform_draws,
    write_bundle,
)
from .recipes import Recipe
from .samples import policy_samples, random_samples

# No two trainings of a run see the same draws.
PIXELS, CACHE, FINETUNE, VALIDATION, FULL_FRAMES = range(5)


def make_encoders(
    folder: Path, recipe: Recipe, videos: pd.DataFrame, n_classes: int, seed: int
) -> None:
    """Train both encoders on full frames, then f_L and f_C on random patches (stage I).

    Writes the bundles ``glance``, ``local`` and ``classifier``. All frames are held in memory: this
    is for the embedded data set.
    """
    if recipe.full_frames is None or recipe.stage_one is None:
        raise ValueError("this recipe trains no encoders: give weights instead")
    torch.manual_seed(seed)
    decoded = {split: _decode(videos, split, recipe) for split in ("train", "val")}

    def samples(split: str, stage: int | None) -> TensorSamples:
        frames, labels = decoded[split]

        def load(epoch: int, rows: Tensor) -> tuple[Tensor, ...]:
            if stage is None:
                return frames[rows], labels[rows]
            draws = uniform_draws(rows.tolist(), recipe.frames.steps, [seed, stage, epoch])
            return frames[rows], draws, labels[rows]

        return TensorSamples(len(labels), load)

    glance, local = Encoder(recipe.glance), Encoder(recipe.local)
    for index, encoder in enumerate((glance, local)):
        fit(
            FullFrames(encoder, n_classes),
            samples("train", None),
            samples("val", None),
            recipe.full_frames,
            name=f"full frames: {encoder.config.name}",
            seed=[seed, FULL_FRAMES, index],
        )
    grid = PatchGrid(recipe.frames.frame_px, recipe.patch_px, recipe.grid)
    classifier = build_classifier(classifier_config(recipe, glance, local, n_classes))
    fit(
        OnPixels(glance, local, classifier, grid),
        samples("train", PIXELS),
        samples("val", VALIDATION),
        recipe.stage_one,
        name="stage I: f_L and f_C",
        seed=[seed, PIXELS],
    )
    folder.mkdir()
    write_bundle(folder / "glance", "encoder", glance.config, glance)
    write_bundle(folder / "local", "encoder", local.config, local)
    write_bundle(folder / "classifier", "classifier", classifier.config, classifier)


def _decode(videos: pd.DataFrame, split: str, recipe: Recipe) -> tuple[Tensor, Tensor]:
    """Return frames ``(N, T, 3, S, S)`` and labels ``(N,)`` of a split."""
    chosen = videos[videos["split"] == split]
    decoded = tqdm(
        read_many(clips_of(chosen), recipe.frames), "decoding", len(chosen), unit="video"
    )
    return torch.stack([pixels for pixels, _ in decoded]), torch.tensor(chosen["label"].to_numpy())


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
    settings: FitConfig,
    skip_rate: float,
    seed: int,
) -> None:
    """Train f_C on the cache with random patches; go on from ``start`` where that bundle exists.

    Frames are skipped at ``skip_rate``, so that f_C knows what a zero local vector means. The epoch
    is selected on random patches of the validation videos, nothing skipped.
    """
    torch.manual_seed(seed)
    classifier = read_classifier(start) if start.exists() else build_classifier(config)
    kept = fit(
        OnFeatures(classifier),
        random_samples(cache, "train", skip_rate, [seed, CACHE]),
        random_samples(cache, "val", 0.0, [seed, VALIDATION]),
        settings,
        name="f_C on the cache",
        seed=[seed, CACHE],
    )
    _write_classifier(folder, classifier, cache, kept)


def make_policy(
    folder: Path, config: PPOConfig, cache: FeatureCache, classifier: Path, seed: int
) -> None:
    """Stage II: train π and write its bundle."""
    model = make_model(cache.root, classifier, config, seed)
    policy, returns = train_model(model, config, seed)
    write_policy(folder, policy, cache, {"mean_return": returns[-1]}, trained_penalty(model))


def make_finetuned(
    folder: Path,
    cache: FeatureCache,
    classifier: Path,
    policy: PolicyNetwork,
    settings: FitConfig,
    skip_rate: float,
    seed: int,
) -> None:
    """Stage III: train f_C on π's patches; and, as a control, as long on random ones.

    Writes the bundles ``adafocus`` and ``random``. Both skip the same frames at ``skip_rate``, so
    that f_C does not forget what a skip is, and both are selected on π's patches of the validation
    videos, nothing skipped: they differ in the patches they were trained on and in nothing else.
    """
    on_policy = policy_samples(cache, "train", policy, skip_rate, [seed, FINETUNE])
    validation = policy_samples(cache, "val", policy, 0.0, [seed, VALIDATION])
    on_random = random_samples(cache, "train", skip_rate, [seed, FINETUNE])
    folder.mkdir()
    for name, samples, title in (
        ("adafocus", on_policy, "stage III: f_C"),
        ("random", on_random, "control: f_C, random patches"),
    ):
        network = read_classifier(classifier, cache.fingerprint)
        kept = fit(
            OnFeatures(network), samples, validation, settings, name=title, seed=[seed, FINETUNE]
        )
        _write_classifier(folder / name, network, cache, kept)


def _write_classifier(
    folder: Path, classifier: Classifier, cache: FeatureCache, kept: Fitted
) -> None:
    write_bundle(
        folder, "classifier", classifier.config, classifier, cache.fingerprint, asdict(kept)
    )
