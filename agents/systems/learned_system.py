"""Systems whose decisions are learned in one of the environments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from ...envs.config import check_integer
from .system import System, share_of


@dataclass(frozen=True)
class Table:
    """The facts about a cache and a classifier that `LearnedSystem.environment` needs.

    Attributes:
        steps: T.
        video_gmacs: Cost in GMACs of a video if every segment is glanced at, read with the dearest
            option, and fed to f_C.
    """

    steps: int
    video_gmacs: float


@dataclass(frozen=True)
class Learner:
    """Who learns, and how: an algorithm of Stable-Baselines3's kind.

    Attributes:
        algorithm: An on-policy or off-policy algorithm of Stable-Baselines3 or sb3-contrib, such as
            ``PPO`` or ``SAC``; or ``module:attribute`` of another like them.
        policy: Its policy, by the name that it knows; or ``module:attribute`` of another.
        n_envs: Environments at a time.
        decisions: Total decisions in training, over all environments; on-policy algorithms round it
            up to whole rollouts. All systems of this project use this default.
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
            ValueError: If a number is not an integer of at least 1, or a name is not a str.
        """
        for name in ("algorithm", "policy"):
            if not isinstance(value := getattr(self, name), str):
                raise ValueError(f"{name} must be a name; got {value!r}")
        for name in ("n_envs", "decisions"):
            check_integer(name, getattr(self, name), 1)

    def changed(self, changes: Mapping[str, Any]) -> Learner:
        """Return the learner with some of its settings changed.

        Args:
            changes: Fields of this class but ``keywords``; all others are keywords of the
                algorithm. If ``algorithm`` changes, the old keywords are dropped and only the new
                ones are used.
        """
        fields = ("algorithm", "policy", "n_envs", "decisions")
        own = {name: value for name, value in changes.items() if name in fields}
        more = {name: value for name, value in changes.items() if name not in own}
        learner = replace(self, **own)
        kept = self.keywords if learner.algorithm == self.algorithm else {}
        return replace(learner, keywords={**kept, **more})


@dataclass(frozen=True)
class LearnedSystem(System):
    """A system whose decisions are learned in one of the environments.

    Its setting means nothing, unless a subclass says what it is.

    Attributes:
        task: Name of the environment's task, such as ``Exit``; or ``module:attribute`` of the
            config class of a task of your own.
        keywords: Of the environment, where it has others than the task's own.
        learner: The algorithm that learns, and its settings.
    """

    knob: ClassVar[str] = "setting"
    learns: ClassVar[bool] = True
    in_environment: ClassVar[bool] = True

    task: str = ""
    keywords: Mapping[str, Any] = field(default_factory=dict)
    learner: Learner = field(default_factory=Learner)

    def trained_with(
        self, changes: Mapping[str, Any] | None = None, decisions: int | None = None
    ) -> LearnedSystem:
        """Return the system with another learner; see `Learner.changed`."""
        more = {} if decisions is None else {"decisions": decisions}
        return replace(self, learner=self.learner.changed({**(changes or {}), **more}))

    def training_budget(self) -> str:
        """Return how many decisions a training has."""
        return f"with {self.learner.decisions:,} decisions each"

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
    units of confidence: at 0.1, reading a whole video pays only if it raises the confidence by at
    least 0.1. So a price means the same for networks of any size.
    """

    knob: ClassVar[str] = "price"
    pays: ClassVar[bool] = True

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
