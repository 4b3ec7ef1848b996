"""What a system is: a published method as a recipe of what the rooms below have."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

from ...envs import FeatureSource, uniform_segments
from ...envs.config import check_integer
from ..reading import read_segments
from ..task_play import TaskTrace
from .order import Order

# Of a source, rows of it (B,), and `exits` by name where the system takes them.
Reader = Callable[..., TaskTrace]


@dataclass(frozen=True)
class ClassifierKind:
    """Which f_C a system has, and how that is trained.

    Attributes:
        aggregation: Its kind, as `ClassifierConfig.aggregation`.
        order: In which it is fed the segments in training, as ``focusgym fit classifier --order``.
        reuse_glance: Whether it classifies the glance vectors too; f_G need not run for it if not.
        skip_rate: Share of the segments that it is fed without a look in training, as
            ``--skip-rate``.
    """

    aggregation: str
    order: Order = "video"
    reuse_glance: bool = False
    skip_rate: float = 0.0

    def options(self) -> str:
        """Return the options of ``focusgym fit classifier`` that train one."""
        glance = "" if self.reuse_glance else " --no-reuse-glance"
        skips = f" --skip-rate {self.skip_rate:g}" if self.skip_rate else ""
        return f"--aggregation {self.aggregation} --order {self.order}{glance}{skips}"

    @property
    def name(self) -> str:
        """What tells it from other kinds, in a word."""
        glance = "_glance" if self.reuse_glance else ""
        skips = f"_skips{self.skip_rate:g}" if self.skip_rate else ""
        return f"{self.aggregation}_{self.order}{glance}{skips}"


@dataclass(frozen=True)
class Table:
    """What of a cache and a classifier the keywords of an environment depend on.

    Attributes:
        steps: T.
        video_gmacs: What a video costs whose every segment is glanced at, read with the dearest
            option and fed to f_C.
    """

    steps: int
    video_gmacs: float


@dataclass(frozen=True)
class System(ABC):
    """A published method.

    Attributes:
        name: In tables and on the command line.
        about: What it decides, in a line.
        source: The paper.
        classifier: Its f_C.
        several_groups: Whether it chooses among whole frames at several sides, each an option
            group with an encoder of its own; else it reads one.
        places: What f_L is run on: whole frames, or patches.
        approximate: Whether features on a cache are not those of what is looked at, so that its
            figures have to be measured on pixels.
        note: What its figures do not say, for tables; empty for nothing.
        of_encoders: What the names of networks have in them that make it what it is: ``_tsm``;
            ``bit``, beside which stands the same network in full; or ``_reuse``. Empty where any
            will do that have neither few bits nor a mask profile.
        settings: Values of what it trades accuracy for cost with, the cheapest last; one at least.
            A system without such a knob has 1 alone.
    """

    knob: ClassVar[str]  # what a setting is, in a word
    learns: ClassVar[bool] = False  # whether a seed changes it
    whole_segments: ClassVar[bool] = False  # whether a setting is a share, rounded to whole ones
    random_places: ClassVar[bool] = False  # whether it looks elsewhere on pixels than on a cache

    name: str
    about: str
    source: str
    classifier: ClassifierKind
    several_groups: bool = False
    places: Literal["full", "patches"] = "full"
    approximate: bool = False
    note: str = ""
    of_encoders: str = ""
    settings: tuple[float, ...] = (1.0,)

    @property
    def usual_setting(self) -> float:
        """The setting that is trained where none is given: the middle one."""
        return self.settings[len(self.settings) // 2]

    def settings_of(self, steps: int) -> tuple[float, ...]:
        """Return the settings that differ where videos have T segments.

        Of shares that are rounded to the same number of segments it is the first one.

        Args:
            steps: T.
        """
        if not self.whole_segments:
            return self.settings
        first: dict[int, float] = {}
        for setting in self.settings:
            first.setdefault(share_of(steps, setting), setting)
        return tuple(first.values())

    def setting_label(self, setting: float) -> str:
        """Return how a setting is called in tables, such as ``price 0.1``; empty without a knob."""
        return f"{self.knob} {setting:g}" if len(self.settings) > 1 else ""


@dataclass(frozen=True)
class DirectSystem(System):
    """A system that is played without an environment: what it reads comes in a known order."""

    keeps: ClassVar[bool] = False  # whether it writes what it has trained, see `reader`
    # Whether `reader` asks features of its cache though nothing is trained: see `clip_fixed`.
    reads_features: ClassVar[bool] = False
    takes_exits: ClassVar[bool] = False  # whether what it gives stops videos by a rule of exits

    def check_setting(self, steps: int, setting: float) -> None:
        """Check a setting before anything is trained.

        Args:
            steps: T.
            setting: From a user.

        Raises:
            ValueError: If it means nothing.
        """

    @abstractmethod
    def reader(
        self, source: FeatureSource, setting: float, seed: int, kept: Path | None = None
    ) -> Reader:
        """Return what plays videos, after training what it has to train.

        Args:
            source: Cache and classifier.
            setting: One of ``settings``, or another number of their kind.
            seed: Of the training.
            kept: Folder of what is trained: read if it is there, else written, after a training
                that goes on where it was interrupted. None keeps nothing.

        Returns:
            A function of a source, of the same cache or of pixels, and of rows of it ``(B,)``;
            where the system ``takes_exits``, also of ``exits``, an `ExitRule` by which a video
            stops before its end, or None.
        """


@dataclass(frozen=True)
class FixedSystem(DirectSystem):
    """A system that decides nothing by what it sees: the segments are known beforehand.

    Its setting is the share of the segments that it reads, spread uniformly.
    """

    knob: ClassVar[str] = "share"
    whole_segments: ClassVar[bool] = True
    takes_exits: ClassVar[bool] = True

    def check_setting(self, steps: int, setting: float) -> None:
        """Refuse a share that is none."""
        self.segments(steps, setting)

    def reader(
        self, source: FeatureSource, setting: float, seed: int, kept: Path | None = None
    ) -> Reader:
        """Return what reads the segments of every video."""
        return partial(read_segments, segments=self.segments(source.cache.steps, setting))

    def reads_everything(self, setting: float) -> bool:
        """Say whether f_C is fed the glance vector and the look of every segment.

        `AdaptiveRecognizer` without a policy does that where there is one option, so that a run may
        be written as its bundle, for streams.

        Args:
            setting: The share.
        """
        return self.classifier.reuse_glance and setting == 1

    def segments(self, steps: int, setting: float) -> tuple[int, ...]:
        """Return the segments that are read, in order.

        Args:
            steps: T.
            setting: The share.
        """
        return tuple(uniform_segments(share_of(steps, setting), steps).tolist())


@dataclass(frozen=True)
class Learner:
    """Who learns, and how: an algorithm of Stable-Baselines3's kind.

    Attributes:
        algorithm: An on-policy or off-policy algorithm of Stable-Baselines3 or sb3-contrib, such as
            ``PPO`` or ``SAC``; or ``module:attribute`` of another like them.
        policy: Its policy, by the name that it knows; or ``module:attribute`` of another.
        n_envs: Environments at a time.
        decisions: How many are made in the training, of all environments together; whole rollouts
            where the algorithm has them, so that there may be some more. Each system of this
            project is given as many.
        keywords: Of the algorithm; ``n_steps`` of an on-policy one is 4 T unless it is among them,
            so that episodes end in each rollout.
    """

    algorithm: str = "PPO"
    policy: str = "MultiInputPolicy"
    n_envs: int = 32
    decisions: int = 200_000
    keywords: Mapping[str, Any] = field(
        default_factory=lambda: {
            "learning_rate": 1e-3,
            "batch_size": 128,
            "n_epochs": 4,
            "gamma": 1.0,
            "gae_lambda": 0.95,
            "ent_coef": 0.01,
        }
    )

    def __post_init__(self) -> None:
        """Check it.

        Raises:
            ValueError: If a number is no integer of at least 1, or a name is none.
        """
        for name in ("algorithm", "policy"):
            if not isinstance(value := getattr(self, name), str):
                raise ValueError(f"{name} must be a name; got {value!r}")
        for name in ("n_envs", "decisions"):
            check_integer(name, getattr(self, name), 1)


@dataclass(frozen=True)
class LearnedSystem(System):
    """A system whose decisions are learned in one of the environments.

    Its setting means nothing, unless a subclass says what it is.

    Attributes:
        task: Name of the environment's task, such as ``Exit``.
        keywords: Of the environment, where it has others than the task's own.
        learner: Who learns.
    """

    knob: ClassVar[str] = "setting"
    learns: ClassVar[bool] = True

    task: str = ""
    keywords: Mapping[str, Any] = field(default_factory=dict)
    learner: Learner = field(default_factory=Learner)

    def environment(self, table: Table, setting: float) -> dict[str, Any]:
        """Return the keywords of the environment at a setting.

        Args:
            table: Of the cache and the classifier.
            setting: One of ``settings``, or another number of their kind.
        """
        return {**self.keywords}


@dataclass(frozen=True)
class PricedSystem(LearnedSystem):
    """A learned system that pays for what it computes.

    Its setting is the price of a video whose every segment is read with the dearest option, in
    units of confidence: where it is 0.1, reading all is worth it only for a confidence that is
    higher by a tenth. So a price means the same for networks of any size.
    """

    knob: ClassVar[str] = "price"

    settings: tuple[float, ...] = (0.05, 0.1, 0.2, 0.5)

    def environment(self, table: Table, setting: float) -> dict[str, Any]:
        """Return the keywords at a price."""
        return {**self.keywords, "price_per_gmac": setting / table.video_gmacs}


@dataclass(frozen=True)
class ShareSystem(LearnedSystem):
    """A learned system that is told how many segments to read, or at most to read.

    Its setting is the share of the segments.

    Attributes:
        count: The keyword of the environment that takes their number.
    """

    knob: ClassVar[str] = "share"
    whole_segments: ClassVar[bool] = True

    count: str = field(kw_only=True)

    def environment(self, table: Table, setting: float) -> dict[str, Any]:
        """Return the keywords at a share of the segments."""
        return {**self.keywords, self.count: share_of(table.steps, setting)}


def share_of(steps: int, share: float) -> int:
    """Return how many of T segments a share of them is, at least 1.

    Raises:
        ValueError: If the share is not in (0, 1].
    """
    if not 0 < share <= 1:
        raise ValueError(f"expected a share of the segments in (0, 1]; got {share!r:.80}")
    return max(1, round(share * steps))
