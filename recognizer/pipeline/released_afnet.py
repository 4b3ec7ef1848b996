"""Released AFNet checkpoints: their networks, by this project's names and sizes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..afnet.config import RESNETS, AFNetConfig
from ..afnet.loading import is_afnet, load_all, own_names
from ..afnet.network import AFNet
from ..encoders.config import ShiftKind
from ..encoders.loading import WeightsError
from .released_parts import NOT_NEEDED, ReleasedReport, filled, state_dict

_ENTRY = "state_dict"
_BACKBONES = {name: RESNETS[name] for name in ("resnet50", "resnet101")}
_BLOCK = re.compile(r"(?:stages\.(\d)\.pairs|(after))\.(\d+)\.")
_SCORE, _HEAD = "stages.0.pairs.0.navigation.score.weight", "head.weight"
_GIVE = "give a checkpoint of an AF-ResNet-50 or 101 that was trained on videos"


def is_released_afnet(checkpoint: Mapping[str, Any]) -> bool:
    """Return whether a checkpoint is one of AFNet's, by the names of its modules."""
    state = checkpoint.get(_ENTRY)
    return isinstance(state, Mapping) and is_afnet([str(key) for key in state])


def convert_released_afnet(
    checkpoint: Mapping[str, Any], shift: ShiftKind | None
) -> tuple[AFNet, ReleasedReport]:
    """Convert a checkpoint of AFNet's experiments with AF-ResNets.

    All of it or, on an error, nothing; torch's global generator is left as it is.

    Args:
        checkpoint: ``state_dict`` holds an AF-ResNet-50 or 101 with its gates and its head,
            ``new_fc`` or ``fc``; names may begin with ``module.`` and ``base_model.``. Other
            entries are left out.
        shift: How it shifts channels along the frames. The shift has no weights, and no name tells
            of it.

    Returns:
        The network, in eval mode, and what was used.

    Raises:
        WeightsError: If it is of a backbone without gates or of another one, a tensor is missing or
            left over, shapes do not fit each other, or a number is not finite.

    Source: supplement of AFNet, Table 7; names and layouts are the released code's.
    """
    named = own_names(state_dict(_ENTRY, checkpoint.get(_ENTRY)))
    config = _config(named, shift)
    with torch.random.fork_rng(devices=[]):  # it is built with random weights first
        network = AFNet(config)
    load_all(network, named)
    report = ReleasedReport(filled(checkpoint), {}, {}, {})
    report.used.update(Counter(_part_of(name) for name in named))
    report.inferred["backbone"] = config.backbone
    report.inferred.update(steps=config.n_frames, n_classes=config.n_classes)
    for name in checkpoint:
        if name != _ENTRY:
            report.left_out[name] = NOT_NEEDED
    return network.eval(), report


def _config(named: Mapping[str, Tensor], shift: ShiftKind | None) -> AFNetConfig:
    """Return the sizes of a network by the names and shapes of its weights."""
    if not any(".navigation." in name for name in named):
        raise WeightsError(
            "the checkpoint has no navigation modules (list_gen), so that nothing tells which "
            "frames to keep: it is a backbone that was trained on images: begin a training with it "
            "(focusgym fit afnet --weights FILE)"
        )
    numbers: dict[str, set[str]] = {}
    for name in named:
        if match := _BLOCK.match(name):
            numbers.setdefault(match[1] or match[2], set()).add(match[3])
    counts = tuple(len(numbers.get(stage, ())) for stage in ("0", "1", "2", "after"))
    known = {  # pairs, without the block after the fusion
        (*(n - 1 for n in sizes.blocks[:-1]), sizes.blocks[-1]): backbone
        for backbone, sizes in _BACKBONES.items()
    }
    if counts not in known:
        expected = ", or ".join(f"{blocks} ({name})" for blocks, name in known.items())
        raise WeightsError(
            f"the checkpoint has {counts} pairs of blocks in its three AF modules and blocks after "
            f"them; expected {expected}: {_GIVE}"
        )
    for name, axes in ((_SCORE, 4), (_HEAD, 2)):
        if name not in named or named[name].ndim != axes or named[name].shape[0] < 2:
            held = tuple(named[name].shape) if name in named else "nothing"
            raise WeightsError(
                f"the checkpoint holds {held} for {name}, expected a tensor of {axes} axes, the "
                f"first of at least 2: {_GIVE}"
            )
    n_frames, n_classes = named[_SCORE].shape[0] // 2, named[_HEAD].shape[0]
    return AFNetConfig(known[counts], n_classes, n_frames, shift=shift)


def _part_of(name: str) -> str:
    """Return how a report calls the part of a network that a tensor is of."""
    if ".navigation." in name:
        return "gates"
    return "head" if name.startswith("head.") else "backbone"
