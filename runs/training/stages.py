"""The supervised stages, put together once: for the verb ``fit``, for comparisons and quickstarts.

Who puts one together says with which settings, on which samples and by which draws; where it is
trained, and what is told of it, is theirs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...feature_cache import FeatureCache
from ...recognizer import (
    BundleError,
    Classifier,
    Encoder,
    FitConfig,
    Fitted,
    FullFrames,
    OnFeatures,
    OnPixels,
    PatchGrid,
    Policy,
    Samples,
    Stage,
    TensorSamples,
    fit,
    rank_and_world,
    write_bundle,
)
from ...recognizer.files.bundle import Bundle
from .chance import chance_note
from .samples import policy_samples, random_samples

Write = Callable[[Path, dict[str, float]], None]


@dataclass(frozen=True, eq=False)
class Training:
    """A stage with all that its training needs.

    Attributes:
        stage: The networks and their losses.
        samples: To train on, and to select the epoch on.
        settings: How it is trained.
        key: Numbers that its draws are keyed by: seed, stage, and more where there are more.
        title: What progress bars call it.
        write: Writes the bundles of what was trained into a folder, with numbers that were measured
            on it; it may add others that it measures.
    """

    stage: Stage
    samples: tuple[Samples, Samples]
    settings: FitConfig
    key: Sequence[int]
    title: str
    write: Write

    def run(self, checkpoint: Path | None = None) -> Fitted:
        """Train; the stage is then that of the best epoch. Tell if that may have learned nothing.

        Args:
            checkpoint: File from which an interrupted training goes on; None keeps none.

        Raises:
            FitError: If the loss is not finite.
            CheckpointError: If the checkpoint is of another training, or damaged.
        """
        how: Any = {"name": self.title, "seed": self.key, "checkpoint": checkpoint}
        kept = fit(self.stage, *self.samples, self.settings, **how)
        labels = self.samples[1].labels
        if labels is not None and rank_and_world()[0] == 0:
            note = chance_note(self.title, kept.val_accuracy, labels)
            if note is not None:
                print(f"focusgym: {note}", file=sys.stderr)
        return kept

    def keep(self, folder: Path, kept: Fitted) -> dict[str, float]:
        """Write the bundles of what was trained; return the numbers that were measured on it."""
        metrics = {name: float(value) for name, value in asdict(kept).items()}
        self.write(folder, metrics)
        return metrics

    def into(self, folder: Path) -> None:
        """Train at one stretch, and write the bundles."""
        self.keep(folder, self.run())


def kept_of(path: Path, bundle: Bundle) -> Fitted:
    """Return what a bundle that `Training.keep` wrote says of its epoch.

    Args:
        path: Its folder, for the message.
        bundle: What `read_bundle` read from the folder.

    Raises:
        BundleError: If it does not say.
    """
    try:
        metrics = bundle.metrics
        return Fitted(int(metrics["epoch"]), metrics["val_accuracy"], metrics["val_loss"])
    except KeyError as error:
        raise BundleError(
            f"{path}: {error} is missing in its metrics: the bundle was changed; copy it again, or "
            "train it anew"
        ) from error


def encoder_training(
    stage: FullFrames,
    samples: tuple[Samples, Samples],
    settings: FitConfig,
    key: Sequence[int],
    title: str,
) -> Training:
    """Return stage 0: an encoder on full frames, a bundle of its own.

    Args:
        stage: The stage, with the encoder.
        samples: As of `Training`, like all others.
        settings: How it is trained.
        key: Numbers that its draws are keyed by: seed, stage, and more where there are more.
        title: What progress bars call it.
    """
    encoder = stage.encoder

    def write(folder: Path, metrics: dict[str, float]) -> None:
        write_bundle(folder, "encoder", encoder.config, encoder, metrics=metrics)

    return Training(stage, samples, settings, key, title, write)


def patches_training(
    glance: Encoder,
    local: Encoder,
    classifier: Classifier,
    grid: PatchGrid,
    samples: tuple[Samples, Samples],
    settings: FitConfig,
    key: Sequence[int],
    title: str,
    kind: type[OnPixels] = OnPixels,
    **how: Any,
) -> Training:
    """Return stage I or III on pixels: f_L and f_C, the bundles ``local`` and ``classifier``.

    Args:
        glance: f_G, which is not trained.
        local: f_L.
        classifier: f_C.
        grid: The patches.
        samples: As of `Training`, like the next three.
        settings: How it is trained.
        key: Numbers that its draws are keyed by: seed, stage, and more where there are more.
        title: What progress bars call it.
        kind: The stage's class.
        **how: Keywords of `OnPixels`.
    """

    def write(folder: Path, metrics: dict[str, float]) -> None:
        folder.mkdir(exist_ok=True)
        write_bundle(folder / "local", "encoder", local.config, local, metrics=metrics)
        f_c = classifier
        write_bundle(folder / "classifier", "classifier", f_c.config, f_c, metrics=metrics)

    stage = kind(glance, local, classifier, grid, **how)
    return Training(stage, samples, settings, key, title, write)


def classifier_training(
    classifier: Classifier,
    cache: FeatureCache,
    samples: tuple[Samples, Samples],
    settings: FitConfig,
    key: Sequence[int],
    title: str,
    kind: type[OnFeatures] = OnFeatures,
) -> Training:
    """Return stage I or III on a cache: f_C, a bundle of its own.

    Args:
        classifier: f_C.
        cache: To which it then belongs.
        samples: As of `Training`, like all others; see `looks`.
        settings: How it is trained.
        key: Numbers that its draws are keyed by: seed, stage, and more where there are more.
        title: What progress bars call it.
        kind: The stage's class.
    """

    def write(folder: Path, metrics: dict[str, float]) -> None:
        f_c = classifier
        write_bundle(folder, "classifier", f_c.config, f_c, cache.fingerprint, metrics)

    return Training(kind(classifier), samples, settings, key, title, write)


def looks(
    cache: FeatureCache,
    split: str,
    policy: Policy | None,
    skip_rate: float,
    key: Sequence[int],
    *,
    sample: bool = False,
) -> TensorSamples:
    """Return the videos of a split with a policy's options, or with random ones.

    Args:
        cache: Whose features they are.
        split: Split of the cache whose videos are looked at.
        policy: Who looks; None for random options.
        skip_rate: Share of the frames that are skipped at random, where the policy skips none.
        key: Of the draws, with the epoch and the video.
        sample: Whether a policy's options are drawn; else they are its most probable ones.
    """
    if policy is None:
        return random_samples(cache, split, skip_rate, key)
    return policy_samples(cache, split, policy, skip_rate, key, sample=sample)
