"""Systems that are played without an environment: what they read comes in an order they know."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar, NamedTuple

from ...envs import FeatureSource, uniform_segments
from ...recognizer import Policy
from ..reading import read_segments
from ..task_play import TaskTrace
from .system import System, share_of

# Of a source, rows of it (B,), and `exits` by name where it takes them.
Reader = Callable[..., TaskTrace]


class Adaptive(NamedTuple):
    """The parts from which an `AdaptiveRecognizer` does what a system does, and has a stream.

    Attributes:
        policy: Its policy; None where there is one option, and every segment is looked at.
    """

    policy: Policy | None


@dataclass(frozen=True)
class DirectSystem(System):
    """A system that is played without an environment: what it reads comes in a known order."""

    keeps: ClassVar[bool] = False  # whether it writes what it has trained, see `reader`
    # Whether `reader` asks features of its cache though nothing is trained: see `clip_fixed`.
    reads_features: ClassVar[bool] = False

    def check_setting(self, steps: int, setting: float) -> None:
        """Check a setting before anything is trained.

        Args:
            steps: T.
            setting: The setting, which comes from a user.

        Raises:
            ValueError: If it means nothing.
        """

    def adaptive(self, steps: int, setting: float, kept: Path) -> Adaptive | None:
        """Return the parts from which an `AdaptiveRecognizer` can do the same; None if it cannot.

        Args:
            steps: T.
            setting: One of ``settings``, or another number of their kind.
            kept: Folder of what it has learned.

        Raises:
            BundleError: If that cannot be read.
        """
        return None

    @abstractmethod
    def reader(
        self, source: FeatureSource, setting: float, seed: int, kept: Path | None = None
    ) -> Reader:
        """Return what plays videos, after training what it has to train.

        Args:
            source: Cache and classifier.
            setting: One of ``settings``, or another number of their kind.
            seed: Seed of the training.
            kept: Folder of what is trained: read if it is there, else written, after a training
                that goes on where it was interrupted. None keeps nothing.

        Returns:
            A function of a source, of the same cache or of pixels, and of rows of it ``(B,)``. If
            it has a parameter ``exits``, that is an `ExitRule` by which a video stops before its
            end, or None.
        """


@dataclass(frozen=True)
class FixedSystem(DirectSystem):
    """A system that decides nothing by what it sees: the segments are known beforehand.

    Its setting is the share of the segments that it reads, spread uniformly.
    """

    knob: ClassVar[str] = "share"
    whole_segments: ClassVar[bool] = True

    def check_setting(self, steps: int, setting: float) -> None:
        """Refuse a share that is not in (0, 1]."""
        self.segments(steps, setting)

    def reader(
        self, source: FeatureSource, setting: float, seed: int, kept: Path | None = None
    ) -> Reader:
        """Return what reads the segments of every video."""
        return partial(read_segments, segments=self.segments(source.cache.steps, setting))

    def adaptive(self, steps: int, setting: float, kept: Path) -> Adaptive | None:
        """Return `Adaptive(None)`, that is without a policy, if all is glanced and looked at.

        That is if f_C is fed the glance vector and the look of every segment; else return None.
        """
        return Adaptive(None) if self.classifier.reuse_glance and setting == 1 else None

    def segments(self, steps: int, setting: float) -> tuple[int, ...]:
        """Return the segments that are read, in order.

        Args:
            steps: T.
            setting: The share.
        """
        return tuple(uniform_segments(share_of(steps, setting), steps).tolist())


def passes(epochs: int, lr: float) -> str:
    """Return in words what a training without an environment is given.

    Args:
        epochs: Passes over the training videos.
        lr: Learning rate of the training.
    """
    many = f"{epochs} epoch{'' if epochs == 1 else 's'}"
    return f"without an environment, {many} each at a learning rate of {lr:g}"
