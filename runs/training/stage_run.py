"""A run of a supervised stage: trained beside its folder, which appears when it is done."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from ...agents import read_policy
from ...feature_cache import FeatureCache, make_encoder
from ...recognizer import (
    EncoderConfig,
    Fitted,
    PatchGrid,
    check_clips,
    first_weights,
    format_gmacs,
    rank_and_world,
    read_bundle,
    read_encoder,
)
from ...recognizer.files.atomic import write_whole
from ...recognizer.randomness import TrainingStage
from ..configs.fit import (
    FitClassifierConfig,
    FitEncoderConfig,
    FitPatchesConfig,
    StageConfig,
)
from ..evaluation.trained import policy_folder
from ..folders.atomic import exclusive
from ..folders.run_folder import check_settings, run_folder
from ..options.groups import encoder_of
from ..options.parse import UsageError, print_line, settings_of, usage
from ..options.presets import CONFIG, RUN, VERBS
from ..options.stage_videos import StageVideos
from .samples import in_order
from .stage_parts import (
    check_choices,
    check_policy,
    classifier_of,
    digest_of,
    stage_of,
    what_else,
)
from .stages import (
    Training,
    classifier_training,
    encoder_training,
    kept_of,
    looks,
    patches_training,
)

_PATCHES, _POLICY = TrainingStage.PATCHES, TrainingStage.POLICY  # stages I and III
# Where these are may change: their content is compared.
_MAY_CHANGE = (
    *("videos", "train", "val", "test", "classes", "cache"),
    *("weights", "glance-encoder", "local-encoder", "classifier", "policy", "networks"),
)


def fit_encoder(config: FitEncoderConfig, device: torch.device) -> None:
    """Stage 0: an encoder on full frames."""
    train_stage(config, *encoder_stage(config, device))


def encoder_stage(
    config: FitEncoderConfig, device: torch.device
) -> tuple[Training, dict[str, str]]:
    """Return stage 0 as it was asked for, and fingerprints of what it begins with.

    Raises:
        UsageError: If options are wrong or do not go together.
        VideoListError, VideoError: If the videos cannot be had.
        WeightsError: If the weights cannot.
    """
    settings = settings_of(config.training, ("encoder",))
    kind = stage_of(config.training, "encoder")
    with usage():
        network = EncoderConfig(config.network, config.input_px)
    videos = StageVideos.read(config)
    encoder = make_encoder(network, config.weights).to(device)
    with usage():
        check_clips("the encoder", encoder, videos.frames.read_frames)
    data = {"videos": videos.fingerprint(), "weights": digest_of(encoder)}
    with first_weights(config.training.seed):
        stage = kind(encoder, videos.n_classes).to(device)
    key = [config.training.seed, TrainingStage.FULL_FRAMES]
    return encoder_training(stage, videos.samples(), settings, key, "stage 0"), data


def fit_patches(config: FitPatchesConfig, device: torch.device) -> None:
    """Stages I and III on pixels: f_L and f_C."""
    train_stage(config, *patches_stage(config, device))


def patches_stage(
    config: FitPatchesConfig, device: torch.device
) -> tuple[Training, dict[str, str]]:
    """Return stage I or III on pixels as it was asked for; and, as errors, see `encoder_stage`."""
    settings = settings_of(config.training, ("local", "classifier"))
    kind = stage_of(config.training, "patches")
    check_choices(config)
    with usage():
        grid = PatchGrid(config.frames.frame, config.patch, config.grid)
    videos = StageVideos.read(config)
    glance = read_encoder(config.glance_encoder).to(device)
    local = encoder_of(config.local_encoder, config.weights).to(device)
    with usage():
        check_clips("f_G", glance, len(videos.frames.glanced))
        check_clips("f_L", local, videos.frames.segment_frames)
    policy = None
    if config.policy is not None:
        policy = read_policy(policy_folder(config.policy)).to(device)
        check_policy(config.policy, policy, glance, grid, videos.frames)
    sizes = (glance.channels, local.channels, videos.n_classes)
    classifier = classifier_of(
        config.classifier, sizes, videos.frames.steps, config.head, config.training
    ).to(device)
    data = {
        "videos": videos.fingerprint(),
        "glance-encoder": digest_of(glance),
        "local-encoder": digest_of(local),
        **what_else(config, classifier, policy),
    }
    key = [config.training.seed, _PATCHES if policy is None else _POLICY]
    training = patches_training(
        glance,
        local,
        classifier,
        grid,
        videos.samples(key, [config.training.seed, TrainingStage.VALIDATION]),
        settings,
        key,
        f"stage {'I' if policy is None else 'III'} on pixels",
        kind,
        policy=policy,
        sample=config.sample_policy,
        skip_rate=config.skip_rate,
        frames=videos.frames,
    )
    return training, data


def fit_classifier(config: FitClassifierConfig, device: torch.device) -> None:
    """Stages I and III on a cache: f_C."""
    settings = settings_of(config.training, ("classifier",))
    kind = stage_of(config.training, "classifier")
    check_choices(config)
    if config.policy is not None and config.order != "video":
        raise UsageError(
            f"--order {config.order}: a policy looks at the segments in the video's order: leave "
            "--order out, or --policy"
        )
    cache = FeatureCache.open(config.cache, config.group or None, str(device))
    sizes = (cache.glance_channels, cache.local_channels, cache.n_classes)
    classifier = classifier_of(
        config.classifier, sizes, cache.steps, config.head, config.training, cache
    ).to(device)
    seed = config.training.seed
    key = [seed, _PATCHES if config.policy is None else _POLICY]
    policy = None
    if config.policy is not None:
        bundle = policy_folder(config.policy)
        policy = read_policy(bundle, cache.fingerprint, cache.root).to(device)
    train = looks(cache, "train", policy, config.skip_rate, key, sample=config.sample_policy)
    val = looks(cache, "val", policy, 0.0, [seed, TrainingStage.VALIDATION])
    samples = (
        in_order(train, config.order, cache.steps, key),
        in_order(val, config.order, cache.steps, [seed, TrainingStage.VALIDATION]),
    )
    data = {"cache": cache.fingerprint, **what_else(config, classifier, policy)}
    title = f"stage {'I' if policy is None else 'III'} on the cache"
    training = classifier_training(classifier, cache, samples, settings, key, title, kind)
    train_stage(config, training, data)


def train_stage(
    config: StageConfig,
    training: Training,
    data: Mapping[str, str],
) -> None:
    """Train in ``OUT.partial``, where an interrupted training goes on; rename it when done.

    Args:
        config: Options of the verb.
        training: The stage.
        data: Fingerprints of what it begins with, by the option that says where that is.

    Raises:
        OutputError: If something is in the way, or another training was begun there.
        FitError, CheckpointError: As `Training.run`.
    """
    out, partial = config.out, _partial(config.out)
    rank, world = rank_and_world()
    checkpoint = partial / "checkpoint.safetensors"
    verb = _verb(config)
    device = str(next(training.stage.parameters()).device)
    how: Any = {"resume": None, "may_change": _MAY_CHANGE, "device": device}
    folder = run_folder(partial, verb, config, data, **how) if rank == 0 else nullcontext()
    with folder:
        if world > 1:
            distributed.barrier()
        try:
            kept = training.run(checkpoint)
        except BaseException:
            if rank == 0 and not checkpoint.exists():
                shutil.rmtree(partial)
            raise
        if rank == 0:
            metrics = training.keep(partial / "bundle", kept)
            for name in (CONFIG, RUN):
                write_whole(partial / "bundle" / name, (partial / name).read_bytes())
            (partial / "bundle").rename(out)
            _remove(partial)
            _print_kept(kept, out, metrics, config.training.json)


def was_done(config: StageConfig) -> bool:
    """Return whether a training was killed after its result had appeared.

    What it left beside it is removed then, and what was kept is told as at its end.

    Raises:
        OutputError: If it was begun with other settings, or another process is at it.
        BundleError: If the result is damaged.
    """
    out, partial = config.out, _partial(config.out)
    try:
        if (out / RUN).read_bytes() != (partial / RUN).read_bytes():
            return False
    except OSError:
        return False
    rank, world = rank_and_world()
    if world > 1:
        distributed.barrier()  # all have looked
    if rank == 0:
        with exclusive(partial):
            check_settings(out, _verb(config), config, _MAY_CHANGE)
            bundle = read_bundle(*_bundle(config))
            kept = kept_of(_bundle(config)[0], bundle)
            _remove(partial)
        _print_kept(kept, out, bundle.metrics, config.training.json)
    return True


def _verb(config: StageConfig) -> str:
    return next(name for name, kind in VERBS.items() if kind is type(config))


def _bundle(config: StageConfig) -> tuple[Path, str]:
    """Return a bundle of a training that is done, and of what kind it is."""
    match config:
        case FitEncoderConfig():
            return config.out, "encoder"
        case FitClassifierConfig():
            return config.out, "classifier"
        case FitPatchesConfig():
            return config.out / "classifier", "classifier"
    return config.out, "recognizer"


def _partial(out: Path) -> Path:
    return out.with_name(f"{out.name}.partial")


def _remove(partial: Path) -> None:
    """Remove the folder of a training that is done; until the end it is known by its record."""
    for path in partial.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != RUN:
            path.unlink()
    shutil.rmtree(partial)


def _print_kept(kept: Fitted, out: Path, metrics: Mapping[str, float], as_json: bool) -> None:
    """Print what was kept, and what else was measured on it."""
    if as_json:
        print_line(json.dumps({"out": str(out), **metrics, **asdict(kept)}))
        return
    what = f"epoch {kept.epoch} of the training"
    if not kept.epoch:
        what = "as it was before the training, for no epoch was better"
    print_line(
        f"{out}: {what}; {100 * kept.val_accuracy:.1f} % right on the validation videos, loss "
        f"{kept.val_loss:.3f}"
    )
    if "kept_share" in metrics:
        print_line(
            f"gates kept {100 * metrics['kept_share']:.1f} % of the frames of these videos, "
            f"{format_gmacs(metrics['gmacs'])} per video on average"
        )
