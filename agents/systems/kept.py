"""What systems have learned, read again: of the sizes that a cache and a setting ask for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from torch import nn

from ...feature_cache import FeatureCache
from ...recognizer import BundleError, read_bundle, restore

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

NetworkT = TypeVar("NetworkT", bound=nn.Module)


def is_kept(kept: Path) -> bool:
    """Say whether a folder holds what a system has learned."""
    return (kept / "bundle.json").is_file()


def read_kept(
    kept: Path,
    cache: FeatureCache,
    build: Callable[[Mapping[str, Any]], NetworkT],
    sizes: DataclassInstance,
    chosen: Collection[str],
) -> NetworkT:
    """Read a network, in eval mode, and compare its sizes with those that a training would give it.

    Args:
        kept: The folder of its bundle.
        cache: Where it is played.
        build: Makes the network, whose ``config`` is a dataclass of its sizes, from the bundle's.
        sizes: Of the network that the system would train on this cache, at this setting.
        chosen: Names of sizes that a training may have chosen otherwise.

    Raises:
        BundleError: If the bundle cannot be read, belongs to another cache, or a size that does not
            depend on a choice is another one.
    """
    network = restore(kept, read_bundle(kept, "policy", cache.fingerprint, cache.root), build)
    config: Any = network.config
    for name, value in asdict(sizes).items():
        if name not in chosen and getattr(config, name) != value:
            raise BundleError(
                f"{kept}: expected a policy whose {name} is {value!r}, as the cache, f_C and the "
                f"setting ask for; got {getattr(config, name)!r}: it was changed, or trained for "
                "something else; copy it again, or train it anew"
            )
    return network
