"""The verb ``fit``: the supervised stages, each into a folder of bundles."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import distributed

from ...recognizer import process_group, rank_and_world
from ..configs.fit import (
    FitAFNetConfig,
    FitCubesConfig,
    FitEncoderConfig,
    FitEndToEndConfig,
    FitPatchesConfig,
    StageConfig,
)
from ..folders.atomic import check_free
from ..options.devices import device_of
from ..options.end_to_end import check_policy_options
from ..training.afnet_run import fit_afnet
from ..training.cubes_run import fit_cubes
from ..training.end_to_end_run import fit_end_to_end
from ..training.stage_run import fit_classifier, fit_encoder, fit_patches, was_done


def run_fit_verb(config: StageConfig) -> None:
    """Train one stage, alone or as one of the processes that ``torchrun`` started.

    Raises:
        UsageError: If options are wrong or do not go together.
        OutputError: If something is in the way.
        VideoListError, VideoError: If videos cannot be read.
        BundleError, CacheError, WeightsError: If what the stage begins with cannot be used.
        FitError: If the loss is not finite.
        CheckpointError: If an interrupted training cannot go on.
    """
    with process_group(device_of(config.training.device)) as device, _told_once():
        if was_done(config):
            return
        check_free(config.out)
        match config:
            case FitEncoderConfig():
                fit_encoder(config, device)
            case FitPatchesConfig():
                fit_patches(config, device)
            case FitEndToEndConfig():
                check_policy_options(config)
                fit_end_to_end(config, device)
            case FitCubesConfig():
                check_policy_options(config)
                fit_cubes(config, device)
            case FitAFNetConfig():
                fit_afnet(config, device)
            case _:
                fit_classifier(config, device)


@contextmanager
def _told_once() -> Iterator[None]:
    """Let the first of several processes that fails say why.

    The others meet the same error, or that it is gone.
    """
    several = rank_and_world()[1] > 1
    if several:
        distributed.barrier()  # all have joined before one may be gone
    try:
        yield
    except Exception:
        if several:
            store = distributed.distributed_c10d._get_default_store()
            try:
                first = store.add("focusgym/failed", 1) == 1
            except RuntimeError:  # the process that kept it has failed
                first = False
            if not first:
                raise SystemExit(2) from None
        raise
