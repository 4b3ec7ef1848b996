"""Weights of AF networks: the released names, mapped to ours, and where a training begins."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from torch import Tensor

from ..encoders.loading import WeightsError, misfit
from .network import AFNet

# What the names of the released code and of bundles may begin with.
_PREFIX = re.compile(r"((module|base_model|network)\.)*")

# The released names, and this project's; of stages, of gates, and of blocks.
_OUTER = {"conv1": "stem.0", "bn1": "stem.1", "fc": "head", "new_fc": "head"}
_STAGES = {"layer1": "stages.0", "layer2": "stages.1", "layer3": "stages.2"}
_AFTER = "layer4"
_OF_STAGE = {"base_transform": "widen", "att_gen.fc": "fusion.layers"}
_OF_PAIR = {"list_gen": "navigation", "base_module": "ample", "refine_module": "focal"}
_OF_GATE = {"conv_pool": "reduce", "bn": "norm", "conv_gs": "score"}
_OF_BLOCK = {
    **{"conv1": "branch.0", "conv2": "branch.3", "conv3": "branch.6"},
    **{"bn1": "branch.1", "bn2": "branch.4", "bn3": "branch.7"},
    "downsample": "beside",
}
_RELEASED = re.compile(r"layer[123]\.(list_gen|base_module|refine_module)\.")

# Parts of ours that may be missing, or of another shape, where a training begins.
_GATE = re.compile(r"(.*\.(?:navigation|spatial))\..+")
_HEAD, _FUSION = "head", "fusion"
# What weights need not have: counts that inference does not use and exports drop, and thresholds of
# gates, which are 0 where they were not trained, as in the released code.
_MAY_LACK = ("num_batches_tracked", "threshold")


@dataclass(frozen=True)
class StartReport:
    """What a training begins with, of the weights it was given.

    Attributes:
        used: Tensors used, by part: ``backbone`` (all but the others), ``gates``, ``head``.
        left_out: Why a part keeps its random weights, by part.
    """

    used: dict[str, int]
    left_out: dict[str, str]


def is_afnet(keys: Collection[str]) -> bool:
    """Return whether names are those of a released AF-ResNet, with or without gates."""
    return any(_RELEASED.search(key) for key in keys)


def own_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of an AF network by this project's names.

    Args:
        state: By this project's names, or the released ones; perhaps with prefixes, such as
            ``module.base_model.`` or a bundle's ``network.``. What is unknown keeps its name.

    Raises:
        WeightsError: If two of them have the same name here.
    """
    named: dict[str, Tensor] = {}
    before: dict[str, str] = {}
    for key, value in state.items():
        name = _own(_PREFIX.sub("", key, count=1))
        if name in named:
            raise WeightsError(
                f"the weights hold {before[name]} and {key}, which are both {name}: keep the one "
                "that is wanted"
            )
        named[name], before[name] = value, key
    return named


def load_all(network: AFNet, named: Mapping[str, Tensor]) -> int:
    """Load all weights of a network, by its own names.

    Returns:
        How many tensors were loaded.

    Raises:
        WeightsError: If some are missing or left over, or of other shapes; then none is loaded.
    """
    return _load(network, named, set())


def begin_with(network: AFNet, state: Mapping[str, Tensor]) -> StartReport:
    """Load the weights that a training begins with; what they lack stays as it is.

    The gates and the head may be missing, as in a backbone that was trained on images, or be of
    other shapes, for other numbers of frames or classes; and so may the weights of the fusion,
    where one of the two adds the branches. All the rest has to be there.

    Args:
        network: To be trained.
        state: Of an AF network with the same backbone, see `own_names`.

    Raises:
        WeightsError: If other weights are missing or left over, shapes differ, or a number is not
            finite; then none is loaded.
    """
    named, own = own_names(state), network.state_dict()
    parts: dict[str, list[str]] = {}
    for name in {*own, *named}:
        parts.setdefault(_part(name), []).append(name)
    left: set[str] = set()
    reasons: dict[str, str] = {}
    for part, names in parts.items():
        wanted = [name for name in names if name in own and not name.endswith(_MAY_LACK)]
        if not part:
            continue
        if not wanted:
            why = "this network has none"
        elif not any(name in named for name in wanted):
            why = "the weights have none"
        elif any(name not in named or named[name].shape != own[name].shape for name in wanted):
            why = "theirs are of other shapes"
        else:
            continue
        left.update(names)
        reasons[part] = why
    n_head = sum(_part(name) == _HEAD for name in {*named} - left)
    n_gates = sum(_GATE.fullmatch(name) is not None for name in {*named} - left)
    n = _load(network, {key: value for key, value in named.items() if key not in left}, left)
    used = {"backbone": n - n_gates - n_head, "gates": n_gates, "head": n_head}
    return StartReport(used, _together(reasons))


def _load(network: AFNet, named: Mapping[str, Tensor], optional: Collection[str]) -> int:
    own = network.state_dict()
    missing = sorted(key for key in {*own} - {*named} - {*optional} if not key.endswith(_MAY_LACK))
    unexpected = sorted({*named} - {*own})
    if problems := misfit(missing, unexpected, named, own):
        raise WeightsError(
            f"the weights do not fit an AF network on {network.config.backbone}: {problems}: give "
            "those of an AF network of these sizes"
        )
    for key, value in named.items():
        if not value.isfinite().all():
            raise WeightsError(
                f"the weights hold NaN or infinite numbers in {key}: their training failed: give "
                "others"
            )
    network.load_state_dict(dict(named), strict=False)
    return len(named)


def _part(name: str) -> str:
    """Return the gate that a tensor is of, ``head``, ``fusion``, or "" for all the rest."""
    match = _GATE.fullmatch(name)
    if match:
        return match[1]
    if f".{_FUSION}." in name:
        return _FUSION
    return _HEAD if name.startswith(f"{_HEAD}.") else ""


def _together(reasons: Mapping[str, str]) -> dict[str, str]:
    """Return reasons by part, those of gates as one."""
    by_kind: dict[str, str] = {}
    for part, why in sorted(reasons.items()):
        kind = part
        if part not in (_HEAD, _FUSION):
            kind = "gates of positions" if part.endswith(".spatial") else "gates"
        by_kind.setdefault(kind, why)
    return by_kind


def _own(name: str) -> str:
    """Return this project's name of a released one; an unknown name as it is."""
    layer, _, rest = name.partition(".")
    if layer in _OUTER:
        return f"{_OUTER[layer]}.{rest}"
    if layer == _AFTER:
        index, _, tensor = rest.partition(".")
        return _in(f"after.{index}", tensor, _OF_BLOCK, name)
    if layer not in _STAGES:
        return name
    stage = _STAGES[layer]
    for theirs, ours in _OF_STAGE.items():
        if rest.startswith(f"{theirs}."):
            return f"{stage}.{ours}{rest.removeprefix(theirs)}"
    part, index, tensor = [*rest.split(".", 2), "", ""][:3]
    if part == "fusion" and index == "0":
        return _in(f"{stage}.last", tensor, _OF_BLOCK, name)
    if part in _OF_PAIR:
        layers = _OF_GATE if part == "list_gen" else _OF_BLOCK
        return _in(f"{stage}.pairs.{index}.{_OF_PAIR[part]}", tensor, layers, name)
    return name


def _in(where: str, tensor: str, layers: Mapping[str, str], name: str) -> str:
    layer, _, rest = tensor.partition(".")
    return f"{where}.{layers[layer]}.{rest}" if layer in layers else name
