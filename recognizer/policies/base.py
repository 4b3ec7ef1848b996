"""What a policy is: from the glance maps so far to where to look, and whether."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from torch import Tensor, nn


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


class PolicyState(NamedTuple):
    """What the policy remembers of the frames before: the states of its GRUs.

    Attributes:
        where: Of π, ``(1, B, H)``.
        whether: Of π′; None without one.
    """

    where: Tensor
    whether: Tensor | None

    def of(self, episodes: Tensor) -> PolicyState:
        """Return the state of some of the B episodes, told by an index or a mask ``(B,)``."""
        whether = None if self.whether is None else self.whether[:, episodes]
        return PolicyState(self.where[:, episodes], whether)


class Policy(nn.Module, ABC):
    """What π has to be: a module that chooses a place in each of the segments in turn.

    A place is named as its `Places` name it: below W is the shape of a name, none for an option's
    index, ``(2,)`` for the centre of a box.

    Attributes:
        config: Its sizes.
        keep: π′, which decides whether to look; None where every segment is looked at.
        names_centers: Whether it names centres of boxes; else it names indices of options.
        names_once: Whether all segments that it is given at once have one place, which it names
            when it has seen all of them.
    """

    names_centers: ClassVar[bool] = False
    names_once: ClassVar[bool] = False
    keep: nn.Module | None

    def __init__(self, config: PolicyConfig) -> None:
        """Keep the sizes."""
        super().__init__()
        self.config = config
        self.keep = None  # of the instance: one of the class would hide a module of that name

    def choose(
        self, maps: Tensor | Sequence[Tensor], draws: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Choose where to look, and whether, in all segments of B videos.

        Args:
            maps: Glance maps of B videos, ``(B, T, h, w, G)`` of the weights' dtype; or a sequence
                of B tensors ``(T, h, w, G)`` as they are stored.
            draws: ``(B, T, 2)`` uniform in [0, 1): the option is drawn with the first number of a
                segment, whether to look with the second. None chooses without sampling.

        Returns:
            The places ``(B, T, W)``; and ``(B, T)`` bool, whether to look: all true without π′.
            Without sampling, the most probable option, and whether p^B reaches ρ.

        Raises:
            ValueError: If there are draws, and the policy has nothing to draw.

        Source: AdaFocus (arXiv:2105.03245) sections 3.1 and 3.3; with ``draws``, Eq. 3 and 8.
        """
        return self.advance(maps, None, draws)[:2]

    @abstractmethod
    def advance(
        self,
        maps: Tensor | Sequence[Tensor],
        state: PolicyState | None,
        draws: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, PolicyState]:
        """Choose like `choose`, going on from the segments before.

        Args:
            maps: Glance maps of the next segments.
            state: From the call before; None at the start of the videos.
            draws: See `choose`.

        Returns:
            Places and looks, see `choose`; and the state after the last segment.
        """
