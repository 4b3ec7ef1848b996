"""Loading: a classification network's state dict into an encoder, whatever its keys begin with."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

from torch import Tensor

from ..errors import FocusgymError
from .encoder import Encoder
from .trunks import HEADS

# torchvision's files of DenseNets are older than its names: "norm.1" is "norm1" now.
_OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")


class WeightsError(FocusgymError):
    """Weights cannot be had, or do not fit an encoder; the message says why and what to do."""


def load_weights(encoder: Encoder, state: Mapping[str, Tensor]) -> None:
    """Load a network's state dict into an encoder, classification head excepted.

    All of it or, on an error, nothing.

    Args:
        encoder: The encoder.
        state: State dict with the network's own names, torchvision's or an encoder's, with or
            without its head. A common prefix (``module.``, ``backbone.``, ``trunk.``) is stripped.

    Raises:
        WeightsError: If keys are missing or left over, or shapes differ, listing them.
    """
    own = encoder.trunk.state_dict()
    prefix = _prefix(state, own)
    found, unexpected = {}, []
    for key, value in state.items():
        name = _OLD_DENSENET.sub(r"\1\2", key.removeprefix(prefix))
        if name in own and key.startswith(prefix):
            found[name] = value
        elif name.split(".", 1)[0] not in HEADS:
            unexpected.append(key)
    # Every BatchNorm counts its batches; inference does not use the count, and exports drop it.
    missing = [key for key in own if key not in found and not key.endswith("num_batches_tracked")]
    differing = [
        f"{key} is {tuple(value.shape)}, expected {tuple(own[key].shape)}"
        for key, value in found.items()
        if value.shape != own[key].shape
    ]
    problems = []
    if missing or unexpected:
        problems.append(f"missing {_some(missing)}, unexpected {_some(unexpected)}")
    if differing:
        problems.append(_some(differing))
    if problems:
        raise WeightsError(
            f"the weights do not fit {encoder.config.name}: {'; '.join(problems)}: give the state "
            "dict of this network, or choose the encoder that they were trained in"
        )
    encoder.trunk.load_state_dict(found, strict=False)


def _prefix(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> str:
    """Return the prefix, empty or up to a dot, with which most keys are the network's own."""
    hits = Counter({"": 0})
    for key in state:
        parts = _OLD_DENSENET.sub(r"\1\2", key).split(".")
        for i in range(len(parts)):
            if ".".join(parts[i:]) in own:
                hits["".join(f"{part}." for part in parts[:i])] += 1
    return hits.most_common(1)[0][0]


def _some(items: list[str]) -> str:
    more = f" and {len(items) - 5} more" if len(items) > 5 else ""
    return ", ".join(items[:5]) + more or "none"
