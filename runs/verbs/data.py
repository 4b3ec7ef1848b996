"""The verb ``data``: write an embedded data set."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from pathlib import Path

import pandas as pd

from ...feature_cache import DigitPairsConfig, DigitsConfig, make_digit_pairs, make_digits
from ...feature_cache.videos.digit_config import DigitSettings
from ..configs.data import DataDigitsConfig, DataPairsConfig
from ..folders.atomic import check_free
from ..options.parse import print_line, usage


def write_data(config: DataDigitsConfig | DataPairsConfig) -> None:
    """Write a data set, and tell what it holds and what can be done with it.

    Raises:
        OutputError: If the output folder is there already.
        UsageError: If a size is out of range.
    """
    check_free(config.out)
    make: Callable[[Path], pd.DataFrame]
    sizes = {each.name: getattr(config, each.name) for each in fields(DigitSettings)}
    videos = shlex.quote(str(config.out))
    files = "videos.csv is their list, boxes.csv the true box of every frame"
    with usage():
        if isinstance(config, DataPairsConfig):
            pairs = DigitPairsConfig(**sizes)
            make, n_classes = partial(make_digit_pairs, pairs), pairs.n_classes
            files += ", classes.txt names the classes"
            verb, name, preset = "encoder", "tsm", "digit_pairs"
            more = " --network small_residual_tsm --weights random"
        else:
            digits = DigitsConfig(
                **sizes,
                visible_share=config.visible_share,
                decoys=config.decoys,
                digit_px=config.digit_px,
                largest_digit_px=config.largest_digit_px,
            )
            make, n_classes = partial(make_digits, digits), digits.n_classes
            verb, name, preset, more = "end-to-end", "v2", "digits_v2", ""
    trained = shlex.quote(f"outputs/{config.out.name}_{name}")
    next_command = f"focusgym fit {verb} {trained} --preset {preset} --videos {videos}{more}"
    counts = make(config.out)["split"].value_counts(sort=False).to_dict()
    if config.json:
        rest = {"n_frames": config.n_frames, "n_classes": n_classes, "seed": config.seed}
        print_line(json.dumps({"data": str(config.out), "rows": counts, **rest}))
        return
    rows = ", ".join(f"{split} {n}" for split, n in counts.items())
    print_line(
        f"{config.out} holds {sum(counts.values())} videos ({rows}) of {config.n_frames} frames "
        f"and {n_classes} classes: {files}\nnext: {next_command}"
    )
