"""Loading: a classification network's state dict into an encoder, whatever its keys begin with."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from torch import Tensor

from ..errors import FocusgymError
from .encoder import Encoder
from .shift import shifted_modules
from .trunks import HEADS

# torchvision's files of DenseNets are older than its names: "norm.1" is "norm1" now.
_OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")

# What the released code of TSM calls the module that a shift is put before.
_SHIFTED = ".net."

# In the released code of TSM, AdaFocus and AdaFocusV2 a block of MobileNet-V2 is one flat sequence;
# torchvision nests its convolutions with their normalisation. The first block has no expansion.
_FIRST_BLOCK = {"0": "0.0", "1": "0.1", "3": "1", "4": "2"}
_BLOCK = {"0": "0.0", "1": "0.1", "3": "1.0", "4": "1.1", "6": "2", "7": "3"}
_IN_BLOCK = re.compile(r"(.*features\.)(\d+)(\.conv\.)(\d)(\.(?:net\.)?\w+)")
_NESTED_BLOCK = "features.1.conv.0.0.weight"  # of torchvision's MobileNet-V2, and of no other


class WeightsError(FocusgymError):
    """Weights cannot be had, or do not fit an encoder; the message says why and what to do."""


def load_weights(encoder: Encoder, state: Mapping[str, Tensor]) -> None:
    """Load a network's state dict into an encoder, classification head excepted.

    All of it or, on an error, nothing.

    Args:
        encoder: The encoder.
        state: State dict with the network's own names, torchvision's or an encoder's, with or
            without its head. A common prefix (``module.``, ``backbone.``, ``trunk.``) is stripped.
            The names of the released code of TSM are known, too: ``module.base_model.`` before all,
            ``.net.`` behind a module that a shift is put before, and MobileNet-V2's blocks as flat
            sequences. An encoder that shifts also takes the weights of the network without shift.

    Raises:
        WeightsError: If keys are missing or left over, or shapes differ, listing them; or if the
            weights are of a network that shifts, and the encoder does not, or elsewhere.

    Source: TSM (arXiv:1811.08383): its training begins with the weights of the network without
        shift, which has none of its own.
    """
    own = encoder.trunk.state_dict()
    names = _torchvision_names(state, own)
    prefix = _prefix(names.values(), own)
    weights, unexpected, shifted = {}, [], set()
    for key, value in state.items():
        name = names[key].removeprefix(prefix)
        before, net, after = name.partition(_SHIFTED)
        if name not in own and net and f"{before}.{after}" in own:
            name = f"{before}.{after}"
            shifted.add(before)
        if name in own and name not in weights and names[key].startswith(prefix):
            weights[name] = value
        elif not _of_head(names[key], prefix):
            unexpected.append(key)
    # Every BatchNorm counts its batches; inference does not use the count, and exports drop it.
    missing = [key for key in own if key not in weights and not key.endswith("num_batches_tracked")]
    if problems := misfit(missing, unexpected, weights, own):
        raise WeightsError(
            f"the weights do not fit {encoder.config.name}: {problems}: give the state dict of "
            "this network, or choose the encoder that they were trained in"
        )
    if shifted:
        _check_shift(encoder, shifted)
    encoder.trunk.load_state_dict(weights, strict=False)


def misfit(
    missing: Sequence[str],
    unexpected: Sequence[str],
    weights: Mapping[str, Tensor],
    own: Mapping[str, Tensor],
) -> str:
    """Return in what weights do not fit a network, in words; empty if they fit.

    Args:
        missing: Names that the network has and the weights lack.
        unexpected: Names that it does not have.
        weights: Tensors, by the network's names where it has them.
        own: The network's own state dict.
    """
    differing = [
        f"{key} is {tuple(value.shape)}, expected {tuple(own[key].shape)}"
        for key, value in weights.items()
        if key in own and value.shape != own[key].shape
    ]
    problems = []
    if missing or unexpected:
        problems.append(f"missing {_some(missing)}, unexpected {_some(unexpected)}")
    if differing:
        problems.append(_some(differing))
    return "; ".join(problems)


def _check_shift(encoder: Encoder, shifted: set[str]) -> None:
    """Check that an encoder shifts before the same modules as the network of some weights.

    Raises:
        WeightsError: If it does not.
    """
    name, own = encoder.config.name, shifted_modules(encoder.trunk)
    if encoder.shift is None:
        raise WeightsError(
            f"the weights are of a network that shifts channels along the frames of a clip, before "
            f"{_some(sorted(shifted))}; {name} does not: take {name}_tsm"
        )
    lacking, further = sorted(own - shifted), sorted(shifted - own)
    differences = [f"{name} shifts before {_some(lacking)}, it does not"] if lacking else []
    differences += [f"it shifts before {_some(further)}, {name} does not"] if further else []
    if differences:
        raise WeightsError(
            f"the weights are of a network that shifts elsewhere: {'; '.join(differences)}: give "
            "weights of one that shifts in its residual branches (TSM's 'blockres'), or write a "
            "trunk of your own that shifts as this one does"
        )


def _torchvision_names(keys: Collection[str], own: Collection[str]) -> dict[str, str]:
    """Return torchvision's name of each key; what is unknown keeps its own."""
    names = {key: _OLD_DENSENET.sub(r"\1\2", key) for key in keys}
    if _NESTED_BLOCK not in own:
        return names
    layers = {key: match.groups() for key in keys if (match := _IN_BLOCK.fullmatch(key))}
    if not any(layer == "0" for *_, layer, _ in layers.values()):
        return names  # nested as torchvision's: the first layer of a block has no weights itself
    for key, (before, block, conv, layer, tensor) in layers.items():
        nested = (_FIRST_BLOCK if block == "1" else _BLOCK).get(layer, layer)
        names[key] = f"{before}{block}{conv}{nested}{tensor}"
    return names


def _prefix(names: Collection[str], own: Collection[str]) -> str:
    """Return the prefix, empty or up to a dot, with which most names are the network's own."""
    hits = Counter({"": 0})
    for name in names:
        parts = name.split(".")
        for i in range(len(parts)):
            if ".".join(parts[i:]) in own:
                hits["".join(f"{part}." for part in parts[:i])] += 1
    return hits.most_common(1)[0][0]


def _of_head(name: str, prefix: str) -> bool:
    """Whether a tensor is of a head, which may also stand beside the network with the prefix."""
    parts = name.split(".")
    for part in prefix.split("."):
        if parts[:1] != [part]:
            break
        parts = parts[1:]
    return bool(parts) and parts[0] in HEADS


def _some(items: Sequence[str]) -> str:
    more = f" and {len(items) - 5} more" if len(items) > 5 else ""
    return ", ".join(items[:5]) + more or "none"
