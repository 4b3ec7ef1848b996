"""Options that cannot be, refused before anything heavy is imported and anything is written."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from importlib.util import find_spec
from typing import Any

from ..configs.cache import CacheBuildConfig, CacheVerbs
from ..configs.evaluate import EvaluateConfig
from ..configs.executor import ExecutorConfig
from ..configs.quickstart import QuickstartConfig
from ..configs.recognize import RecognizeConfig

_CPUS = os.cpu_count() or 1
_MOST = max(64, 4 * _CPUS)  # threads or processes; a machine like this one is not meant to run more
_MOST_INTEGER = 2**63 - 1
_SEEDS = 2**32  # what torch's generators take

# In words and as a rule.
_AT_LEAST_ONE = ("an integer of at least 1", lambda value: value >= 1)
_AT_LEAST_ZERO = ("an integer of at least 0", lambda value: value >= 0)
_POSITIVE = ("a positive number", lambda value: 0 < value < math.inf)
_NOT_NEGATIVE = ("a number of at least 0", lambda value: 0 <= value < math.inf)
_DISCOUNT = ("in [0, 1]", lambda value: 0 <= value <= 1)
_SKIPPED = ("in [0, 1), a share of the frames", lambda value: 0 <= value < 1)
_KEPT = ("in (0, 1], a share of the frames", lambda value: 0 < value <= 1)
_SPENT = ("in (0, 1], a share of the full cost", lambda value: 0 < value <= 1)
_AT_ONCE = (
    f"in 1..{_MOST} (the larger of 64 and four times the {_CPUS} CPUs of this machine)",
    lambda value: 1 <= value <= _MOST,
)
_GPUS = (
    "in [0.0001, 1], a share of a GPU, or a whole number of GPUs",  # what Ray gives out
    lambda value: 1e-4 <= value <= 1 or (1 < value < math.inf and value % 1 == 0),
)
_HERE = ExecutorConfig()
# What is said of an option holds for every verb that has it; what is not given is not checked.
_RANGES: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    **dict.fromkeys(("epochs", "n_envs", "minibatch", "update_epochs", "decisions"), _AT_LEAST_ONE),
    **dict.fromkeys(("conv_channels", "hidden", "count", "seeds", "top"), _AT_LEAST_ONE),
    **dict.fromkeys(("trials", "shards", "decoders"), _AT_LEAST_ONE),
    **dict.fromkeys(("exit_after", "n_train", "n_val", "n_test", "n_frames"), _AT_LEAST_ONE),
    **dict.fromkeys(("sample", "validations", "views", "more", "retries"), _AT_LEAST_ZERO),
    **dict.fromkeys(("lr", "clip_range", "target_gmacs", "penalty_rate"), _POSITIVE),
    **dict.fromkeys(("ent_coef", "vf_coef", "setting"), _NOT_NEGATIVE),
    **dict.fromkeys(("penalty_per_px2", "penalty_per_gmac", "price_per_gmac"), _NOT_NEGATIVE),
    **dict.fromkeys(("gamma", "gae_lambda"), _DISCOUNT),
    **dict.fromkeys(("skip_rate", "fit_skip_rate"), _SKIPPED),
    **dict.fromkeys(("keep_ratio", "keep_ratios"), _KEPT),
    "exit_at": _SPENT,
    "gpu_share": _GPUS,
    **dict.fromkeys(("jobs", "threads"), _AT_ONCE),
    "keep_from": ("in [0, 1)", lambda value: 0 <= value < 1),
    "max_grad_norm": ("a positive number, or inf", lambda value: value > 0),
    "seed": (f"in 0..{_SEEDS - 1}", lambda value: 0 <= value < _SEEDS),
}


class OptionError(Exception):
    """An option cannot be; the message says what was expected."""


def check_options(config: Any) -> None:
    """Check the options of a verb, as far as that needs nothing but themselves.

    Raises:
        OptionError: If a number is out of its range, or options that are needed are missing, or
            Ray is asked for and is not installed.
    """
    _check_ranges(config)
    match config:
        case CacheVerbs(verb=CacheBuildConfig() as build):
            is_local = build.where.executor == "local"
            if build.shards is not None and is_local:
                raise OptionError("--shards is of an executor that is not local: leave it out")
            if build.shard is not None and not is_local:
                raise OptionError("--shard: --executor builds all parts itself: give one of them")
            if build.decoders is not None and (is_local or build.content.device == "cpu"):
                raise OptionError(
                    "--decoders is of --executor ray with --device cuda: leave it out, and all "
                    "CPUs decode"
                )
        case EvaluateConfig(policies=()):
            raise OptionError("give at least one run of `focusgym train`, or a policy bundle")
        case EvaluateConfig(exit_at=(), exit_after=(_, *_)):
            raise OptionError("--exit-after is for videos that stop: give --exit-at as well")
        case RecognizeConfig(videos=()):
            raise OptionError("give at least one video file")
        case QuickstartConfig():
            if (config.videos is None) != (config.weights is None):
                raise OptionError(
                    "--videos and --weights go together: your clips, and torchvision's "
                    "MobileNet-V2 state dict (.pth) that encodes them"
                )
            if config.videos is None and config.preset != "clips":
                raise OptionError("--preset is of your clips: give --videos and --weights as well")
            if config.weights is not None and not config.weights.is_file():
                raise OptionError(f"--weights: no such file: {config.weights}")


def _check_ranges(config: Any) -> None:
    for each in fields(config):
        value = getattr(config, each.name)
        if is_dataclass(value):
            _check_ranges(value)
            if isinstance(value, ExecutorConfig):
                _check_executor(value, _device_beside(config))
        elif each.name in _RANGES and value is not None:
            expected, is_right = _RANGES[each.name]
            if each.name == "jobs" and getattr(config, "where", _HERE).executor != "local":
                expected, is_right = _AT_LEAST_ONE  # a cluster is larger than this machine
            for one in value if isinstance(value, tuple) else (value,):
                option = each.name.replace("_", "-")
                if not is_right(one):
                    raise OptionError(f"--{option} must be {expected}; got {one!s:.80}")
                if isinstance(one, int) and one > _MOST_INTEGER:
                    raise OptionError(f"--{option} must be an integer of 64 bits; got {one!s:.80}")


def _device_beside(config: Any) -> str | None:
    """Return the option ``--device`` of a verb with an executor; None where it has none."""
    beside = config.content if isinstance(config, CacheBuildConfig) else config
    device: str | None = getattr(beside, "device", None)
    return device


def _check_executor(config: ExecutorConfig, device: str | None) -> None:
    executor, transfer = config.executor, config.transfer
    if not re.fullmatch(r"local|ray|ray://[^/]+:[0-9]+", executor):
        raise OptionError(
            f"--executor must be local, ray, or ray://HOST:PORT of a cluster; got {executor!r}"
        )
    if not re.fullmatch(r"shared|object-store|[a-z0-9]+://.+", transfer):
        raise OptionError(
            "--transfer must be shared, object-store, or the URL of a folder, such as "
            f"s3://BUCKET/FOLDER; got {transfer!r}"
        )
    if executor == "local":
        for each in fields(config):
            value, option = getattr(config, each.name), each.name.replace("_", "-")
            if option != "executor" and value != each.default:
                raise OptionError(
                    f"--{option} {value} is of Ray, and the executor is local: leave it out (it is "
                    f"{each.default} then), or give --executor ray"
                )
    elif find_spec("ray") is None:
        raise OptionError(
            f'--executor {executor}: Ray is not installed: `pip install ".[ray]"` in the clone '
            "of focusgym, here and on every node"
        )
    elif executor != "ray" and find_spec("grpc") is None:
        raise OptionError(
            f'--executor {executor}: Ray Client is not installed: `pip install "ray[client]"`, in '
            "the version that the cluster has"
        )
    elif config.gpu_share != _HERE.gpu_share and device == "cpu":
        raise OptionError(
            f"--gpu-share {config.gpu_share} is of GPUs, and --device is cpu: leave it out, or "
            "give --device cuda"
        )
