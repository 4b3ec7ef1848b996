"""Places: what f_L may be run on in a frame, by kind, and as they are described in files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..files.typed import typed
from .boxes import Boxes
from .patch_grid import PatchGrid
from .whole_frame import WholeFrame


class Places(Protocol):
    """K places of one kind and one side in frames S×S.

    A place is named by its index, an int64 in ``[0, K)``; where it may be anywhere, by its centre,
    two numbers in [0, 1]. Below W is the shape of a name: none, or ``(2,)``.

    Implemented by frozen dataclasses of integers and texts, whose fields, ``kind`` among them,
    describe them: ``dataclasses.asdict(places)`` is what manifests and bundles hold, and
    `read_places` turns it back.
    """

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def kind(self) -> str:
        """Name in the registry, such as ``patches``."""

    @property
    def name(self) -> str:
        """Name as an option group, such as ``p128_7x7``."""

    @property
    def frame_px(self) -> int:
        """Frame side S, pixels."""

    @property
    def side_px(self) -> int:
        """Side of what an encoder reads, pixels."""

    @property
    def n_options(self) -> int:
        """K, the number of options."""

    @property
    def plural(self) -> str:
        """What they are, many of them, in words, such as ``whole frames``."""

    @property
    def grid(self) -> PatchGrid | None:
        """The grid that the K places are, between which features can be interpolated, or None."""

    @property
    def is_whole(self) -> bool:
        """Whether a place is the whole frame."""

    @property
    def crops_integers(self) -> bool:
        """Whether `crop` takes frames of integers: what is not cut out need not be normalised."""

    @property
    def names_centers(self) -> bool:
        """Whether a place is named by its centre; else it is named by its index."""

    @property
    def boxes_px(self) -> NDArray[np.int64]:
        """Boxes ``(K, 4)`` as (left, top, right, bottom), pixels; right and bottom exclusive."""

    def nearest(self, centers_px: NDArray[np.floating]) -> NDArray[Any]:
        """Return the places ``(..., W)`` that are nearest to points ``(..., 2)`` (x, y), pixels."""

    def drawn(self, draws: Tensor) -> Tensor:
        """Return the places ``(..., W)`` that uniform numbers ``(..., 2)`` in [0, 1) name."""

    def first(self, *shape: int) -> Tensor:
        """Return places ``(*shape, W)`` that are all the first one: zeros."""

    def boxes_at(self, where: Tensor) -> Tensor:
        """Return the boxes ``(..., 4)`` of places ``(..., W)``, pixels."""

    def check(self, where: Tensor) -> None:
        """Raise a ValueError if places ``(..., W)`` are none of these."""

    def crop(self, frames: Tensor, options: Tensor) -> Tensor:
        """Cut a place ``(M, W)`` out of each frame: ``(M, 3, side, side)`` of ``(M, 3, S, S)``."""

    def crop_all(self, frames: Tensor) -> Tensor:
        """Cut all options out of each frame: ``(M, K, 3, side, side)`` of ``(M, 3, S, S)``."""


PLACES: dict[str, type[PatchGrid] | type[WholeFrame] | type[Boxes]] = {
    "patches": PatchGrid,
    "full": WholeFrame,
    "boxes": Boxes,
}


def read_places(description: Mapping[str, Any]) -> PatchGrid | WholeFrame | Boxes:
    """Return the places that ``dataclasses.asdict`` described.

    Raises:
        ValueError: If the kind is unknown, keys are missing or unknown, or a value is wrong.
    """
    values = dict(description) if isinstance(description, Mapping) else {}
    kind = values.pop("kind", None)
    if not isinstance(kind, str) or kind not in PLACES:
        raise ValueError(
            f"places must be of a kind among {', '.join(PLACES)}; got {kind!r}: the description "
            "was changed, or written by another version"
        )
    return typed(PLACES[kind], values, "places")
