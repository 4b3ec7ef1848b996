"""What a policy is: from the glance maps so far to where to look, and whether."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from torch import Tensor, nn

from .config import PolicyConfig


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
