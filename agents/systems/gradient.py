"""Systems whose policy is trained by gradient on a cache."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import nn

from ...envs import FeatureSource, Source
from ...envs.config import check_integer, check_number
from ...recognizer import FitConfig, Fitted, Policy, first_weights, read_bundle, restore
from ...recognizer.files.bundle import write_bundle
from ...recognizer.files.typed import typed
from ..task_play import TaskTrace
from .direct_system import Adaptive, DirectSystem, Reader, passes
from .kept import is_kept, read_kept
from .system import share_of

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

PolicyT = TypeVar("PolicyT", bound=nn.Module)


@dataclass(frozen=True)
class GradientSystem(DirectSystem, Generic[PolicyT]):
    """A policy that is trained by gradient on a cache; its ``config`` is a dataclass of its sizes.

    Attributes:
        sizes_by_name: What of it can be set by name.
        hidden: Width of its layers.
        epochs: Passes over the training videos.
        batch_size: Videos per step.
        lr: Highest learning rate of AdamW's one cycle.
    """

    # A `TrainingStage`, for its draws; a class of your own takes a number from `OWN_STAGES` on.
    stage: ClassVar[int]
    learns: ClassVar[bool] = True
    keeps: ClassVar[bool] = True
    sizes_by_name: ClassVar[tuple[str, ...]] = ("hidden", "epochs", "batch_size", "lr")

    hidden: int = 1024
    epochs: int = 20
    batch_size: int = 64
    lr: float = 1e-3

    def __post_init__(self) -> None:
        """Check the sizes.

        Raises:
            ValueError: If one is not an integer of at least 1, or the rate is not positive.
        """
        for name in self.sizes_by_name[:-1]:
            check_integer(name, getattr(self, name), 1)
        check_number("lr", self.lr)
        if not self.lr:
            raise ValueError("lr must be positive; got 0")

    def trained_with(
        self, changes: Mapping[str, Any] | None = None, decisions: int | None = None
    ) -> GradientSystem[PolicyT]:
        """Return the system with other sizes, of those in ``sizes_by_name``."""
        if decisions is not None:
            raise ValueError(
                f"{self.name} does not learn in an environment: leave out how many decisions it "
                "makes; its learner has epochs"
            )
        changes = changes or {}
        if unknown := sorted({*changes} - {*self.sizes_by_name}):
            raise ValueError(
                f"{self.name} has no setting {unknown[0]!r}; expected some of "
                f"{', '.join(self.sizes_by_name)}"
            )
        return replace(self, **changes)

    def training_budget(self) -> str:
        """Return how long a training is."""
        return passes(self.epochs, self.lr)

    @abstractmethod
    def sizes(self, source: FeatureSource, setting: float) -> DataclassInstance:
        """Return the sizes of π on a cache with its f_C, at a setting."""

    @abstractmethod
    def build(self, config: Mapping[str, Any]) -> PolicyT:
        """Return π of sizes that may come from a file, with random weights.

        Raises:
            TypeError: If keys are missing or unknown.
            ValueError: If they are of another kind of policy.
        """

    @abstractmethod
    def learn(
        self,
        source: FeatureSource,
        policy: PolicyT,
        how: FitConfig,
        seed: Sequence[int],
        checkpoint: Path | None,
    ) -> Fitted:
        """Train π in place."""

    @abstractmethod
    def read(self, source: Source, videos: NDArray[np.int64], policy: PolicyT) -> TaskTrace:
        """Do what π says, in rows of a source ``(B,)``."""

    def reader(
        self, source: FeatureSource, setting: float, seed: int, kept: Path | None = None
    ) -> Reader:
        """Train π on the split ``train``, or read the one that is kept; return what plays it.

        Raises:
            BundleError: If the one that is kept cannot be read, or is of other sizes than the
                cache, f_C and the setting ask for.
        """
        cache, sizes = source.cache, self.sizes(source, setting)
        if kept is not None and is_kept(kept):
            policy = read_kept(kept, cache, self.build, sizes, self.sizes_by_name)
        else:
            with first_weights(seed):
                policy = self.build(asdict(sizes))
            self._fit(source, policy.to(cache.device), seed, kept)
        return partial(self.read, policy=policy.to(cache.device).eval())

    def _fit(self, source: FeatureSource, policy: PolicyT, seed: int, kept: Path | None) -> None:
        rates = {"policy": self.lr}
        how = FitConfig(
            self.epochs, self.batch_size, rates, optimizer="adamw", schedule="one_cycle"
        )
        checkpoint = None if kept is None else kept.with_name(f"{kept.name}.safetensors")
        fitted = self.learn(source, policy, how, [seed, self.stage], checkpoint)
        if kept is not None and checkpoint is not None:
            metrics = {"val_accuracy": fitted.val_accuracy, "epoch": float(fitted.epoch)}
            write_bundle(kept, "policy", policy.config, policy, source.cache.fingerprint, metrics)
            checkpoint.unlink(missing_ok=True)


@dataclass(frozen=True)
class PlacesByGradient(GradientSystem[PolicyT]):
    """A policy that names places by glance maps, trained by gradient on a cache.

    Attributes:
        conv_channels: Of π, after its 1×1 convolution.
    """

    sizes_by_name: ClassVar[tuple[str, ...]] = (
        "conv_channels",
        *GradientSystem.sizes_by_name,
    )

    conv_channels: int = 64


@dataclass(frozen=True)
class LooksByGradient(PlacesByGradient[Policy]):
    """A `Policy`, which names a place in each segment, so that a recognizer may do the same."""

    def adaptive(self, steps: int, setting: float, kept: Path) -> Adaptive | None:
        """Return π; None where it has to see several segments before it names a place."""
        policy = restore(kept, read_bundle(kept, "policy"), self.build)
        # A stream is given one segment at a time, and a place for all of them is named at once.
        return None if policy.names_once and steps > 1 else Adaptive(policy)


@dataclass(frozen=True)
class SegmentsByGradient(GradientSystem[PolicyT]):
    """A network for which the setting is the share of the segments that are read.

    Attributes:
        network: Its class, which takes ``sizes_of``.
        sizes_of: Dataclass of its sizes.
    """

    knob: ClassVar[str] = "share"
    network: ClassVar[type[Any]]
    sizes_of: ClassVar[type[Any]]

    def check_setting(self, steps: int, setting: float) -> None:
        """Refuse a share that is not in (0, 1]."""
        share_of(steps, setting)

    def build(self, config: Mapping[str, Any]) -> PolicyT:
        """Return the network of sizes."""
        network: PolicyT = self.network(typed(self.sizes_of, config))
        return network
