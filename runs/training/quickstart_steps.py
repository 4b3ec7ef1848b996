"""The steps of the main job that train networks; each writes bundles into a folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import yaml
from numpy.typing import NDArray
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
    FullFrames,
    PatchGrid,
    Policy,
    TensorSamples,
    build_classifier,
    first_weights,
    read_classifier,
    read_encoder,
    torch_threads,
    uniform_draws,
    write_bundle,
)
from ...recognizer.randomness import TrainingStage
from ..configs.fit import FitEncoderConfig, FitPatchesConfig
from ..folders.steps import Calls
from .recipes import Recipe, parsed
from .stage_run import encoder_stage, patches_stage
from .stages import classifier_training, encoder_training, looks, patches_training

# By split: frames and labels, see `_decode`; arrays, which go to a process without shared memory.
Decoded = dict[str, tuple[NDArray[np.uint8], NDArray[np.int64]]]


def make_encoders(
    folder: Path, recipe: Recipe, videos: pd.DataFrame, n_classes: int, seed: int, do: Calls
) -> None:
    """Train both encoders on full frames, then f_L and f_C on random patches (stage I).

    Writes the bundles ``glance``, ``local`` and ``classifier``. All frames are held in memory: this
    is for the embedded data set.

    Args:
        folder: The folder, which is made.
        recipe: How, with how many threads.
        videos: The table of videos, of whose splits train and val are read.
        n_classes: C.
        seed: Seed of all draws of the training.
        do: Makes the two trainings on full frames, which need nothing of one another, such as in
            processes.
    """
    if recipe.stage_one is None:
        raise ValueError("this recipe trains no encoders: give weights instead")
    decoded = {split: _decode(videos, split, recipe) for split in ("train", "val")}
    folder.mkdir()
    do(
        _train_on_full_frames,
        {
            name: (folder / name, index, recipe, decoded, n_classes, seed)
            for index, name in enumerate(("glance", "local"))
        },
    )
    glance, local = read_encoder(folder / "glance"), read_encoder(folder / "local")
    _, classifier = _networks(recipe, n_classes, seed)

    def samples(split: str, stage: int) -> TensorSamples:
        frames, labels = map(torch.from_numpy, decoded[split])

        def load(epoch: int, rows: Tensor) -> tuple[Tensor, ...]:
            draws = uniform_draws(rows.tolist(), recipe.frames.steps, [seed, stage, epoch])
            return frames[rows], draws, labels[rows]

        return TensorSamples(len(labels), load, labels)

    with torch_threads(recipe.training_threads):
        patches_training(
            glance,
            local,
            classifier,
            PatchGrid(recipe.frames.frame_px, recipe.patch_px, recipe.grid),
            (
                samples("train", TrainingStage.QUICKSTART_PATCHES),
                samples("val", TrainingStage.QUICKSTART_VALIDATION),
            ),
            recipe.stage_one,
            [seed, TrainingStage.QUICKSTART_PATCHES],
            "stage I: f_L and f_C",
        ).into(folder)


def _networks(recipe: Recipe, n_classes: int, seed: int) -> tuple[list[FullFrames], Classifier]:
    """Return f_G and f_L with heads for full frames, and f_C, all with random weights."""
    with first_weights(seed):
        glance, local = Encoder(recipe.glance), Encoder(recipe.local)
        stages = [FullFrames(encoder, n_classes) for encoder in (glance, local)]
        return stages, build_classifier(classifier_config(recipe, glance, local, n_classes))


def _train_on_full_frames(
    folder: Path, index: int, recipe: Recipe, decoded: Decoded, n_classes: int, seed: int
) -> None:
    """Train an encoder, f_G (0) or f_L (1), on full frames, and write its bundle."""
    if recipe.full_frames is None:
        raise ValueError("this recipe trains no encoders: give weights instead")
    stage = _networks(recipe, n_classes, seed)[0][index]

    def samples(split: str) -> TensorSamples:
        frames, labels = map(torch.from_numpy, decoded[split])
        return TensorSamples(len(labels), lambda _, rows: (frames[rows], labels[rows]), labels)

    key = [seed, TrainingStage.QUICKSTART_FULL_FRAMES, index]
    title = f"full frames: {stage.encoder.config.name}"
    with torch_threads(recipe.training_threads):
        encoder_training(
            stage, (samples("train"), samples("val")), recipe.full_frames, key, title
        ).into(folder)


def _decode(
    videos: pd.DataFrame, split: str, recipe: Recipe
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return frames ``(N, T, 3, S, S)`` and labels ``(N,)`` of a split."""
    chosen = videos[videos["split"] == split]
    decoded = tqdm(
        read_many(clips_of(chosen), recipe.frames), "decoding", len(chosen), unit="video"
    )
    frames = np.stack([pixels.numpy() for pixels, _ in decoded])
    return frames, chosen["label"].to_numpy(np.int64, copy=True)


def fit_encoders(folder: Path, recipe: Recipe, videos: Path, weights: Path, seed: int) -> None:
    """Train f_L on random patches, and f_G on full frames before, from the weights of one file.

    f_G stays as it is where the recipe has no such stage. Writes the bundles ``glance`` and
    ``local``; f_C begins anew on the cache, for the one trained here may not read ē^G. Frames
    are decoded and augmented anew in every epoch, as ``focusgym fit`` does it.

    Args:
        folder: The folder, which is made.
        recipe: Which networks, and how they are trained.
        videos: Folder of the videos.
        weights: A file that fits both networks.
        seed: Seed of all draws of the training.

    Raises:
        WeightsError: If the file holds no weights, or they do not fit.
        VideoError: If a video cannot be read.
    """
    if recipe.from_weights is None:
        raise ValueError("this recipe keeps the weights: load them instead")
    device = torch.device("cpu")
    folder.mkdir()
    preset = folder / "preset.yaml"
    preset.write_text(yaml.safe_dump(recipe.from_weights))
    shared_options = ("--videos", str(videos), "--seed", str(seed))
    glance = folder / "glance"
    make_encoder(recipe.local, str(weights))  # refused now, and not after f_G was trained
    if "fit encoder" in recipe.from_weights:
        network = ("--network", recipe.glance.name, "--weights", str(weights))
        stage_zero = parsed(FitEncoderConfig, str(preset), str(glance), *shared_options, *network)
        encoder_stage(stage_zero, device)[0].into(glance)
    else:
        encoder = make_encoder(recipe.glance, str(weights))
        write_bundle(glance, "encoder", encoder.config, encoder)
    network = ("--local-encoder", recipe.local.name, "--weights", f"{recipe.local.name}={weights}")
    out, glances = str(folder / "stage1"), ("--glance-encoder", str(glance))
    stage_one = parsed(FitPatchesConfig, str(preset), out, *shared_options, *network, *glances)
    patches_stage(stage_one, device)[0].into(folder)
    shutil.rmtree(folder / "classifier")


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
    with first_weights(seed):
        classifier = read_classifier(start) if start.exists() else build_classifier(config)
    samples = (
        looks(cache, "train", None, skip_rate, [seed, TrainingStage.QUICKSTART_CACHE]),
        looks(cache, "val", None, 0.0, [seed, TrainingStage.QUICKSTART_VALIDATION]),
    )
    key, title = [seed, TrainingStage.QUICKSTART_CACHE], "f_C on the cache"
    classifier_training(classifier, cache, samples, settings, key, title).into(folder)


def make_policy(
    folder: Path,
    config: PPOConfig,
    cache: Path,
    classifier: Path,
    seed: int,
    threads: int | None = None,
) -> None:
    """Stage II: train π, with so many threads of torch, and write its bundle."""
    with torch_threads(threads):
        model = make_model(cache, classifier, config, seed)
        policy, returns = train_model(model, config, seed)
    features, metrics = FeatureCache.open(cache), {"mean_return": returns[-1]}
    write_policy(folder, policy, features, metrics, trained_penalty(model))


def make_finetuned(
    folder: Path,
    cache: FeatureCache,
    classifier: Path,
    policy: Policy,
    settings: FitConfig,
    skip_rate: float,
    seed: int,
) -> None:
    """Stage III: train f_C on π's patches; and, as a control, as long on random ones.

    Writes the bundles ``adafocus`` and ``random``. Both skip the same frames at ``skip_rate``, so
    that f_C does not forget what a skip is, and both are selected on π's patches of the validation
    videos, nothing skipped: they differ in the patches they were trained on and in nothing else.
    """
    key = [seed, TrainingStage.QUICKSTART_POLICY]
    validation = looks(cache, "val", policy, 0.0, [seed, TrainingStage.QUICKSTART_VALIDATION])
    folder.mkdir()
    for name, looker, title in (
        ("adafocus", policy, "stage III: f_C"),
        ("random", None, "control: f_C, random patches"),
    ):
        samples = looks(cache, "train", looker, skip_rate, key), validation
        network = read_classifier(classifier, cache.fingerprint, cache.root).to(cache.device)
        classifier_training(network, cache, samples, settings, key, title).into(folder / name)
