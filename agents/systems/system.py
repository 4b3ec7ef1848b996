"""What a system is: a published method as a recipe that combines parts of the lower packages."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from .encoders import ANY, Encoders
from .order import Order


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
class System(ABC):
    """A published method.

    Attributes:
        name: In tables and on the command line.
        about: What it decides, in a line.
        source: The paper that published it, in words.
        classifier: The kind of f_C that it has.
        several_groups: Whether it chooses among whole frames at several sides, each an option
            group with an encoder of its own; else it reads one.
        places: What f_L is run on, by its kind: whole frames, or patches.
        approximate: Whether features on a cache are not those of what is looked at, so that its
            figures have to be measured on pixels.
        note: What its figures do not say, for tables; empty for nothing.
        of_encoders: Which option groups of a cache it reads, chosen by their networks.
        settings: Values of its knob (such as a price), which trades accuracy for cost, the cheapest
            last; at least one, and ``(1.0,)`` without a knob.
    """

    knob: ClassVar[str]  # what a setting is, in a word
    learns: ClassVar[bool] = False  # whether something of it is trained
    in_environment: ClassVar[bool] = False  # whether it learns and decides in an environment
    pays: ClassVar[bool] = False  # whether its environment has a price per GMAC
    sizes_by_name: ClassVar[tuple[str, ...]] = ()  # what of it can be set by name
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
    of_encoders: Encoders = ANY
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

    def trained_with(
        self, changes: Mapping[str, Any] | None = None, decisions: int | None = None
    ) -> System:
        """Return the system with a training that is changed.

        Args:
            changes: Settings of who learns, by name; None for none.
            decisions: Number of training decisions; None keeps it.

        Raises:
            ValueError: If its training has no such settings, or it has none.
        """
        if changes is not None or decisions is not None:
            raise ValueError(
                f"{self.name} does not learn in an environment: leave out how many decisions it "
                "makes, and who learns"
            )
        return self

    def training_budget(self) -> str:
        """Return in words what one training is given; empty where nothing is trained.

        A class of your own that is trained says how many epochs; see `passes`.
        """
        return "without an environment" if self.learns else ""

    def setting_label(self, setting: float) -> str:
        """Return how a setting is called in tables, such as ``price 0.1``; empty without a knob."""
        return f"{self.knob} {setting:g}" if len(self.settings) > 1 else ""


def share_of(steps: int, share: float) -> int:
    """Return how many of T segments a share of them is, at least 1.

    Raises:
        ValueError: If the share is not in (0, 1].
    """
    if not 0 < share <= 1:
        raise ValueError(f"expected a share of the segments in (0, 1]; got {share!r:.80}")
    return max(1, round(share * steps))
