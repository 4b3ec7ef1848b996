"""Bundles: trained networks as safe files, a folder of ``weights.safetensors`` and ``bundle.json``.

Nothing in a bundle is executed on loading.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import save
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..classifiers.base import Classifier
from ..classifiers.config import ClassifierConfig
from ..classifiers.registry import build_classifier
from ..encoders.encoder import Encoder, EncoderConfig
from ..errors import FocusgymError, in_words, shortened
from ..registry import NotImported
from .atomic import write_whole
from .declared import read_tensors
from .documents import read_json
from .typed import typed, typed_value

NetworkT = TypeVar("NetworkT", bound=nn.Module)

_WEIGHTS, _JSON = "weights.safetensors", "bundle.json"


class BundleError(FocusgymError):
    """A bundle cannot be used; the message says why and what to do."""


@dataclass(frozen=True)
class Bundle:
    """A bundle's content.

    Attributes:
        kind: ``encoder``, ``classifier``, ``policy`` or ``recognizer``.
        config: What the network is built from.
        weights: State dict of the network.
        cache_fingerprint: Of the cache that it was trained on; None for what was trained on pixels.
        metrics: Numbers that were measured on it, by name.
        training: Numbers of its training that its use needs, by name; none in older bundles.
    """

    kind: str
    config: Mapping[str, Any]
    weights: Mapping[str, Tensor]
    cache_fingerprint: str | None
    metrics: Mapping[str, float]
    training: Mapping[str, float] = field(default_factory=dict)


def write_bundle(
    path: str | os.PathLike[str],
    kind: str,
    config: Any,
    module: nn.Module,
    cache_fingerprint: str | None = None,
    metrics: Mapping[str, float] | None = None,
    training: Mapping[str, float] | None = None,
) -> None:
    """Write a network's weights and its config into a folder.

    Args:
        path: The folder; its parent must exist.
        kind: ``encoder``, ``classifier``, ``policy`` or ``recognizer``.
        config: The dataclass that the network was built from, or the same as a mapping.
        module: The network.
        cache_fingerprint: Of the cache that it was trained on.
        metrics: Numbers that were measured on it.
        training: Numbers of its training that its use needs, by name.
    """
    root = Path(path)
    root.mkdir(exist_ok=True)
    # Copies: safetensors refuse weights that share memory, as those of an encoder used twice do.
    weights = {
        name: value.detach().clone(memory_format=torch.contiguous_format)
        for name, value in module.state_dict().items()
    }
    # Not `save_file`, which lets nobody but the writer read: bundles are there to be shared.
    # Without its JSON a bundle is none: interrupted, the new weights never pass for the old ones.
    (root / _JSON).unlink(missing_ok=True)
    write_whole(root / _WEIGHTS, save(weights))
    content = {
        "kind": kind,
        "config": dict(config) if isinstance(config, Mapping) else asdict(config),
        "cache_fingerprint": cache_fingerprint,
        "metrics": dict(metrics or {}),
        "training": dict(training or {}),
    }
    write_whole(root / _JSON, json.dumps(content, indent=2))


def read_bundle(
    path: str | os.PathLike[str],
    kind: str,
    cache_fingerprint: str | None = None,
    cache: str | os.PathLike[str] | None = None,
) -> Bundle:
    """Read a bundle.

    Args:
        path: The folder.
        kind: The kind of bundle that is expected.
        cache_fingerprint: The fingerprint of the cache that it is to be used with, if any.
        cache: Where that cache is, for the message; None if it is not known.

    Raises:
        BundleError: If the folder is not a readable bundle, is of another kind, or belongs to
            another cache.
    """
    root = Path(path)
    try:
        for name in (_JSON, _WEIGHTS):
            if not (root / name).is_file():
                raise FileNotFoundError(f"there is no file {name}")
        content = read_json(root / _JSON)
        bundle = Bundle(weights=read_tensors(root / _WEIGHTS), **content)
        _check_types(bundle)
    except (OSError, ValueError, TypeError, SafetensorError) as error:
        raise BundleError(
            f"{root} is not a readable bundle ({in_words(error)}): give the folder of an intact "
            f"{_JSON} and {_WEIGHTS}, copied again or trained anew"
        ) from error
    if bundle.kind != kind:
        raise BundleError(f"{root} holds a {bundle.kind}, expected a {kind}: give another path")
    if cache_fingerprint is not None and bundle.cache_fingerprint != cache_fingerprint:
        where = "the one" if cache is None else os.fspath(cache)
        raise BundleError(
            f"the {kind} in {root} was trained on another cache (fingerprint "
            f"{shortened(bundle.cache_fingerprint)}) than {where} (fingerprint "
            f"{shortened(cache_fingerprint)}) that it is used with: open the cache it was trained "
            "on, or train it anew"
        )
    return bundle


def restore(
    path: str | os.PathLike[str], bundle: Bundle, build: Callable[[Mapping[str, Any]], NetworkT]
) -> NetworkT:
    """Build a network from a bundle and load its weights, in eval mode.

    Args:
        path: The bundle's folder, for the message.
        bundle: What `read_bundle` read from the folder.
        build: Makes the network from the config.

    Raises:
        BundleError: If the config or the weights are not this network's, a weight is not finite, or
            the network is of a module that was not imported.
    """
    try:
        _without_memory(bundle.config, build).load_state_dict(dict(bundle.weights), assign=True)
        with _Undrawn():
            network = build(bundle.config)
        network.load_state_dict(dict(bundle.weights))
    except NotImported as error:  # the bundle is not to blame
        raise BundleError(f"{path}: {error}") from error
    # What a config of wrong values raises wherever a network is built from it.
    except (
        *(TypeError, ValueError, RuntimeError, AttributeError, LookupError),
        *(ArithmeticError, AssertionError, MemoryError),
    ) as error:
        raise BundleError(
            f"{path}: config and weights do not make a {bundle.kind} ({in_words(error)}): the "
            "bundle was changed, or written by another version; copy it again, or train it anew"
        ) from error
    broken = [name for name, value in network.state_dict().items() if not value.isfinite().all()]
    if broken:
        raise BundleError(
            f"{path}: {broken[0]} of the {bundle.kind} holds NaN or infinity"
            f"{f', and {len(broken) - 1} more do' if len(broken) > 1 else ''}: its training "
            "diverged, or the file is damaged: train it anew, or copy it again"
        )
    return network.eval()


def _without_memory(
    config: Mapping[str, Any], build: Callable[[Mapping[str, Any]], NetworkT]
) -> NetworkT:
    """Build a network whose weights take no memory, whatever the config says."""
    try:
        with torch.device("meta"):
            return build(config)
    # RegNets compute their widths with tensors, whose values they then need; policies of
    # Stable-Baselines3 move their layers to a device while they are built.
    except RuntimeError:
        with _Unallocated():
            return build(config)


class _Unallocated(TorchFunctionMode):
    """Builds networks whose weights have no memory, and whose other tensors have values."""

    _WEIGHTS = (torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Call a function of torch; what weights are made of is made on the device ``meta``."""
        keywords = kwargs or {}
        if func is Tensor.to and args[0].is_meta:  # there is nothing to move
            return args[0]
        if func in self._WEIGHTS and keywords.get("device") is None:
            keywords = {**keywords, "device": "meta"}
        return func(*args, **keywords)


class _Undrawn(TorchFunctionMode):
    """Builds networks with zeros where they would draw their first weights, which takes long."""

    _DRAWS = (
        *(Tensor.normal_, Tensor.uniform_),
        *(nn.init.normal_, nn.init.uniform_, nn.init.kaiming_uniform_),
    )

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Call a function of torch, if it is no draw from the global generator."""
        keywords = kwargs or {}
        if func in self._DRAWS and keywords.get("generator") is None:
            tensor: Tensor = args[0] if args else keywords["tensor"]
            return tensor.detach().zero_()
        return func(*args, **keywords)


def read_classifier(
    path: str | os.PathLike[str],
    cache_fingerprint: str | None = None,
    cache: str | os.PathLike[str] | None = None,
) -> Classifier:
    """Read f_C from a bundle, in eval mode; see `read_bundle` for arguments and errors."""
    bundle = read_bundle(path, "classifier", cache_fingerprint, cache)
    return restore(path, bundle, _classifier)


def read_encoder(path: str | os.PathLike[str]) -> Encoder:
    """Read f_G or f_L from a bundle, in eval mode; see `read_bundle` for the errors."""
    bundle = read_bundle(path, "encoder")
    return restore(path, bundle, _encoder)


def _encoder(config: Mapping[str, Any]) -> Encoder:
    return Encoder(typed(EncoderConfig, config), trusted=False)


def _check_types(bundle: Bundle) -> None:
    fingerprint = bundle.cache_fingerprint
    if not isinstance(bundle.config, dict):
        raise TypeError(f"config must be an object; got {bundle.config!r:.80}")
    for name in ("metrics", "training"):
        numbers = getattr(bundle, name)
        try:
            typed_value(dict[str, float], numbers, name)
        except ValueError as error:
            raise TypeError(
                f"{name} must be finite numbers by name; got {numbers!r:.80}"
            ) from error
    if fingerprint is not None and not isinstance(fingerprint, str):
        raise TypeError(f"cache_fingerprint must be a text or null; got {fingerprint!r:.80}")


def weights_digest(network: nn.Module) -> str:
    """Return the SHA-256 of a network's weights and statistics."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        if not name.endswith("num_batches_tracked"):
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def describe(encoder: Encoder) -> dict[str, Any]:
    """Return an encoder's config and the SHA-256 of its weights and statistics."""
    return {**encoder.config.describe(), "weights_sha256": weights_digest(encoder)}


def _classifier(config: Mapping[str, Any]) -> Classifier:
    return build_classifier(typed(ClassifierConfig, config), trusted=False)
