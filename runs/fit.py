"""The verb ``fit``: the supervised stages, each into a folder of bundles."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from rich.console import Console
from torch import distributed

from ..agents import read_policy
from ..feature_cache import (
    AugmentConfig,
    FeatureCache,
    VideoSamples,
    make_encoder,
    rows_digest,
)
from ..recognizer import (
    PAPER_STAGES,
    Classifier,
    ClassifierConfig,
    Encoder,
    EncoderConfig,
    FitConfig,
    FitError,
    Fitted,
    FrameConfig,
    FullFrames,
    OnFeatures,
    OnPixels,
    PatchGrid,
    PolicyNetwork,
    Samples,
    Stage,
    build_classifier,
    describe,
    fit,
    process_group,
    rank_and_world,
    read_bundle,
    read_classifier,
    read_encoder,
    weights_digest,
    write_bundle,
)
from .config import FramesConfig, VideosConfig
from .fit_config import (
    FitClassifierConfig,
    FitEncoderConfig,
    FitPatchesConfig,
    HeadConfig,
    TrainingConfig,
)
from .options import (
    UsageError,
    augmentation,
    check_device,
    check_seed,
    check_share,
    frames_of,
    settings_of,
    usage,
    videos_of,
)
from .partial import begin, check_free
from .samples import policy_samples, random_samples

# No two stages of a seed share their draws of order, patches and dropout, nor does validation.
_STAGE_ZERO, _STAGE_ONE, _STAGE_THREE, _VALIDATION = range(10, 14)


def run_fit_verb(config: FitEncoderConfig | FitPatchesConfig | FitClassifierConfig) -> None:
    """Train one stage, alone or as one of the processes that ``torchrun`` started.

    Raises:
        UsageError: If options are wrong or do not go together.
        OutputError: If something is in the way.
        VideoListError, VideoError: If videos cannot be read.
        BundleError, CacheError, WeightsError: If what the stage begins with cannot be used.
        FitError: If the loss is not finite.
        CheckpointError: If an interrupted training cannot go on.
    """
    check_device(config.training.device)
    with process_group(config.training.device) as device, _told_once():
        check_free(config.out)
        check_seed(config.training.seed)
        match config:
            case FitEncoderConfig():
                fit_encoder(config, device)
            case FitPatchesConfig():
                fit_patches(config, device)
            case _:
                fit_classifier(config, device)


def fit_encoder(config: FitEncoderConfig, device: torch.device) -> None:
    """Stage 0: an encoder on full frames."""
    settings = settings_of(config.training, "full_frames", ("encoder",))
    with usage():
        network = EncoderConfig(config.network, config.input_px)
    videos = _Videos.of(config.videos, config.frames, config.augment, config.training.seed)
    encoder = make_encoder(network, config.weights).to(device)
    begins_with = {"videos": videos.identity(), "encoder": describe(encoder)}
    with _seeded(config.training.seed):
        stage = FullFrames(encoder, videos.n_classes).to(device)
    key = [config.training.seed, _STAGE_ZERO]

    def write(folder: Path, metrics: dict[str, float]) -> None:
        write_bundle(folder, "encoder", encoder.config, encoder, metrics=metrics)

    _train(config.out, stage, videos.samples(None), settings, key, "stage 0", begins_with, write)


def fit_patches(config: FitPatchesConfig, device: torch.device) -> None:
    """Stages I and III on pixels: f_L and f_C."""
    stage_of = "random_patches" if config.policy is None else "policy_patches"
    trained = ("classifier",) if config.training.lr_local == 0 else ("local", "classifier")
    settings = settings_of(config.training, stage_of, trained)
    _check_choices(config)
    with usage():
        grid = PatchGrid(config.frames.frame, config.patch, config.grid)
    videos = _Videos.of(config.videos, config.frames, config.augment, config.training.seed)
    glance, local = (read_encoder(path).to(device) for path in (config.glance, config.local))
    policy = None
    if config.policy is not None:
        policy = read_policy(config.policy).to(device)
        _check_policy(config.policy, policy, glance, grid)
    sizes = (glance.channels, local.channels, videos.n_classes)
    classifier = _classifier(config.classifier, sizes, config.head, config.training).to(device)
    stage = OnPixels(
        glance,
        local,
        classifier,
        grid,
        policy,
        sample=config.sample_policy,
        skip_rate=config.skip_rate,
    )
    begins_with = {
        "videos": videos.identity(),
        "glance": describe(glance),
        "local": describe(local),
        "grid": asdict(grid),
        **_what(config, classifier, policy),
    }
    key = [config.training.seed, _STAGE_ONE if policy is None else _STAGE_THREE]

    def write(folder: Path, metrics: dict[str, float]) -> None:
        folder.mkdir(exist_ok=True)
        write_bundle(folder / "local", "encoder", local.config, local, metrics=metrics)
        write_bundle(
            folder / "classifier", "classifier", classifier.config, classifier, metrics=metrics
        )

    title = f"stage {'I' if policy is None else 'III'} on pixels"
    _train(config.out, stage, videos.samples(key), settings, key, title, begins_with, write)


def fit_classifier(config: FitClassifierConfig, device: torch.device) -> None:
    """Stages I and III on a cache: f_C."""
    stage_of = "random_patches" if config.policy is None else "policy_patches"
    settings = settings_of(config.training, stage_of, ("classifier",))
    _check_choices(config)
    cache = FeatureCache.open(config.cache, config.group, str(device))
    sizes = (cache.map_shape[2], cache.local_channels, cache.n_classes)
    classifier = _classifier(
        config.classifier, sizes, config.head, config.training, cache.fingerprint
    ).to(device)
    seed = config.training.seed
    key = [seed, _STAGE_ONE if config.policy is None else _STAGE_THREE]
    policy = None
    if config.policy is None:
        train = random_samples(cache, "train", config.skip_rate, key)
        val = random_samples(cache, "val", 0.0, [seed, _VALIDATION])
    else:
        policy = read_policy(config.policy, cache.fingerprint)
        train = policy_samples(
            cache, "train", policy, config.skip_rate, key, sample=config.sample_policy
        )
        val = policy_samples(cache, "val", policy, 0.0, [seed, _VALIDATION])
    begins_with = {"cache": cache.fingerprint, **_what(config, classifier, policy)}

    def write(folder: Path, metrics: dict[str, float]) -> None:
        write_bundle(
            folder, "classifier", classifier.config, classifier, cache.fingerprint, metrics
        )

    title = f"stage {'I' if policy is None else 'III'} on the cache"
    stage = OnFeatures(classifier)
    _train(config.out, stage, (train, val), settings, key, title, begins_with, write)


@dataclass(frozen=True)
class _Videos:
    """The videos of a stage on pixels, and how their frames are taken; ``augment``: in training."""

    table: pd.DataFrame
    n_classes: int
    frames: FrameConfig
    augment: AugmentConfig | None
    seed: int

    @classmethod
    def of(cls, videos: VideosConfig, frames: FramesConfig, augment: bool, seed: int) -> _Videos:
        taken = frames_of(frames, videos.format)
        drawn = augmentation(frames, videos.format, 1, seed) if augment else None
        listed = videos_of(videos, videos.skip_missing)
        missing = listed.videos["missing"] != ""
        if missing.any() and rank_and_world()[0] == 0:
            _print(f"left out, for they are missing: {', '.join(listed.videos['name'][missing])}")
        return cls(listed.videos[~missing], len(listed.classes), taken, drawn, seed)

    def samples(self, key: Sequence[int] | None) -> tuple[Samples, Samples]:
        """Return training and validation samples; with draws if there is a key for them."""
        validation_key = None if key is None else [self.seed, _VALIDATION]
        return self._split("train", key, self.augment), self._split("val", validation_key, None)

    def identity(self) -> dict[str, Any]:
        """Return what the samples depend on, besides the files' content."""
        return {
            "rows": rows_digest(self.table.assign(view=-1)),
            "n_classes": self.n_classes,
            "frames": asdict(self.frames),
            "augment": self.augment and asdict(self.augment),
        }

    def _split(
        self, split: str, key: Sequence[int] | None, augment: AugmentConfig | None
    ) -> VideoSamples:
        chosen = self.table[self.table["split"] == split].reset_index(drop=True)
        if not len(chosen):
            raise UsageError(
                f"there are no videos in the split {split}: give --train, and --val or enough of "
                "each class that a fifth can be held out"
            )
        return VideoSamples(chosen, self.n_classes, self.frames, augment=augment, draws_key=key)


def _check_choices(config: FitPatchesConfig | FitClassifierConfig) -> None:
    """Refuse options that would mean nothing."""
    check_share("--skip-rate", config.skip_rate)
    if config.sample_policy and config.policy is None:
        raise UsageError("--sample-policy: there is no policy to draw from: give --policy as well")
    if config.classifier is not None and config.head != HeadConfig():
        raise UsageError(
            "--hidden, --dropout, --reuse-glance and --aggregation are for a new f_C: what the one "
            "of --classifier is, its bundle says; leave them out, or --classifier"
        )


def _check_policy(path: Path, policy: PolicyNetwork, glance: Encoder, grid: PatchGrid) -> None:
    """Refuse a policy for other maps or another grid."""
    black = torch.zeros(1, 3, grid.frame_px, grid.frame_px, dtype=torch.uint8)
    with torch.no_grad():
        channels, height, width = glance(black.to(glance.mean.device)).shape[1:]
    sizes = policy.config
    there = (sizes.map_height, sizes.map_width, sizes.glance_channels, sizes.n_options)
    expected = (height, width, channels, grid.n_options)
    if there != expected:
        raise UsageError(
            f"--policy {path} is for (h, w, G, K) = {there}, expected {expected}: give the "
            "--glance, --frame and --grid that it was trained with"
        )


def _what(
    config: FitPatchesConfig | FitClassifierConfig,
    classifier: Classifier,
    policy: PolicyNetwork | None,
) -> dict[str, Any]:
    """Return what else a stage with f_C depends on."""
    return {
        "classifier": {**asdict(classifier.config), "weights_sha256": weights_digest(classifier)},
        "policy": policy and {**asdict(policy.config), "weights_sha256": weights_digest(policy)},
        "skip_rate": config.skip_rate,
        "sample_policy": config.sample_policy,
    }


def _classifier(
    start: Path | None,
    sizes: tuple[int, int, int],
    head: HeadConfig,
    training: TrainingConfig,
    cache_fingerprint: str | None = None,
) -> Classifier:
    """Return f_C to begin with; one that was trained on a cache goes on with that cache only."""
    if start is None:
        dropout = PAPER_STAGES[training.preset].dropout if head.dropout is None else head.dropout
        with usage(), _seeded(training.seed):
            config = ClassifierConfig(
                *sizes, head.hidden, dropout, head.reuse_glance, head.aggregation
            )
            return build_classifier(config)
    if read_bundle(start, "classifier").cache_fingerprint is None:
        cache_fingerprint = None  # of a stage on pixels
    classifier = read_classifier(start, cache_fingerprint)
    found = classifier.config
    there = (found.glance_channels, found.local_channels, found.n_classes)
    if there != sizes:
        raise UsageError(
            f"--classifier {start} is for (glance, local, classes) = {there}, expected {sizes}: "
            "give the one of these encoders and videos, or none"
        )
    return classifier


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Draw random weights from a seed; torch's global generator is left as it is."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


@contextmanager
def _told_once() -> Iterator[None]:
    """Let the first of several processes that fails say why.

    The others meet the same error, or that it is gone.
    """
    try:
        yield
    except Exception:
        if rank_and_world()[1] > 1:
            store = distributed.distributed_c10d._get_default_store()
            if store.add("focusgym/failed", 1) > 1:
                raise SystemExit(2) from None
        raise


def _train(
    out: Path,
    stage: Stage,
    samples: tuple[Samples, Samples],
    settings: FitConfig,
    key: Sequence[int],
    title: str,
    begins_with: dict[str, Any],
    write: Callable[[Path, dict[str, float]], None],
) -> None:
    """Train beside ``out``, where an interrupted training goes on; rename it when done."""
    rank, world = rank_and_world()
    partial = out.with_name(f"{out.name}.partial")
    if rank == 0:
        begin(partial, out, {"settings": asdict(settings), "seed": list(key), **begins_with})
    if world > 1:
        distributed.barrier()
    try:
        kept = fit(
            stage,
            *samples,
            settings,
            name=title,
            seed=key,
            checkpoint=partial / "checkpoint.safetensors",
        )
    except FitError:
        if rank == 0:
            shutil.rmtree(partial)  # it would fail again
        raise
    if rank == 0:
        write(partial / "bundle", {name: float(value) for name, value in asdict(kept).items()})
        (partial / "bundle").rename(out)
        shutil.rmtree(partial)
        tell(kept, out)


def tell(kept: Fitted, out: Path) -> None:
    """Print what was kept."""
    what = f"epoch {kept.epoch} of the training"
    if not kept.epoch:
        what = "as it was before the training, for no epoch was better"
    _print(
        f"{out}: {what}; {100 * kept.val_accuracy:.1f} % right on the validation videos, loss "
        f"{kept.val_loss:.3f}"
    )


def _print(text: str) -> None:
    Console(markup=False, highlight=False, emoji=False, soft_wrap=True).print(text)
