"""What policies are: the settings; imports nothing heavy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from ..limits import MOST_FRAMES

AxisKind = Literal["learned", "random", "uniform"]
AXIS_KINDS: tuple[AxisKind, ...] = get_args(AxisKind)


@dataclass(frozen=True)
class PolicyConfig:
    """Sizes of π, and of π′ where there is one.

    Attributes:
        map_height: h of the glance map.
        map_width: w of the glance map.
        glance_channels: G of the maps; F·G where f_G reads several frames of a segment.
        n_options: K, the options to choose from.
        conv_channels: Channels after the 1×1 convolution (64 where the paper's compute is met; 32
            in the released code).
        hidden: Width of the linear layer and of the GRU (1024 in the paper, 2048 in AdaFocusV2).
        options_allowed: Options that may be chosen; None for all.
        threshold: ρ: frames for which π′ gives a keep probability below it are skipped. None means
            that there is no π′ and every frame is looked at.
        network: Kind of the networks: ``gru``, which chooses among K options; ``centers``, which
            names the centre of a box; ``relu_centers``, the same with ReLU, as AdaFocus's released
            Something-Something networks are; ``clip`` and ``clip_centers``, which choose and name
            likewise and remember nothing of the segments before; or ``module:attribute`` of a
            subclass of `Policy`.

    Raises:
        ValueError: If an allowed option is not in ``[0, K)``, or ρ is not in [0, 1].
    """

    map_height: int
    map_width: int
    glance_channels: int
    n_options: int = 49
    conv_channels: int = 64
    hidden: int = 1024
    options_allowed: Sequence[int] | None = None
    threshold: float | None = None
    network: str = "gru"

    def __post_init__(self) -> None:
        """Check the options and the threshold."""
        allowed = self.options_allowed
        if allowed is not None and not (
            len(allowed) and all(type(k) is int and 0 <= k < self.n_options for k in allowed)
        ):
            raise ValueError(
                f"options_allowed must be options in [0, {self.n_options}), at least one; got "
                f"{list(allowed)}"
            )
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold must be in [0, 1], or None; got {self.threshold}")


@dataclass(frozen=True)
class CubePolicyConfig:
    """Sizes of the policy, and which of the axes it learns.

    Attributes:
        map_height: h of the glance map.
        map_width: w of the glance map.
        glance_channels: G.
        steps: T, frames that are glanced at, spread evenly over those of a video.
        cubes: D, cubes of a video.
        conv_channels: Channels after the 1×1 convolution.
        hidden: H, units of a frame.
        time: Where cubes are in time: ``learned``; ``random``; or ``uniform``, spread evenly.
        space: Where they are in the frame, likewise.

    Raises:
        ValueError: If a size is not positive, or a kind is unknown.
    """

    map_height: int
    map_width: int
    glance_channels: int
    steps: int
    cubes: int
    conv_channels: int = 64
    hidden: int = 1024
    time: str = "learned"
    space: str = "learned"

    def __post_init__(self) -> None:
        """Check the sizes and the kinds."""
        for name in ("steps", "cubes", "conv_channels", "hidden"):
            if type(value := getattr(self, name)) is not int or value < 1:
                raise ValueError(f"{name} must be an integer of at least 1; got {value!r}")
        if max(self.steps, self.cubes) > MOST_FRAMES:
            raise ValueError(f"steps and cubes must be at most {MOST_FRAMES}; got {self}")
        for name in ("time", "space"):
            if getattr(self, name) not in AXIS_KINDS:
                raise ValueError(
                    f"{name} must be one of {', '.join(AXIS_KINDS)}; got {getattr(self, name)!r}"
                )

    @property
    def learns(self) -> bool:
        """Whether anything is learned; if not, the policy has no weights."""
        return "learned" in (self.time, self.space)

    @property
    def draws(self) -> bool:
        """Whether an axis is random."""
        return "random" in (self.time, self.space)
