"""A plan: where to look in whole videos, and whether."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Plan:
    """What is done in B videos, the segments in order.

    Attributes:
        options: ``(B, T)`` int64 in ``[0, K)``; any where none was named.
        attended: ``(B, T)`` bool, whether f_L runs; elsewhere f_C is fed a zero local vector.
        named: ``(B, T)`` bool, whether an option was named, as it may be where f_L does not run.
            None: everywhere.

    Raises:
        ValueError: If these are no such arrays of one shape.
    """

    options: NDArray[np.int64]
    attended: NDArray[np.bool_]
    named: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        """Check what can be known without a cache."""
        check_plan(self.options, self.attended)
        named = self.attended if self.named is None else self.named
        if named.shape != self.attended.shape or (self.attended & ~named).any():
            raise ValueError(
                f"expected named {self.attended.shape}, true wherever f_L runs; got "
                f"{named.shape}: what is looked at is an option that was named"
            )

    @classmethod
    def everywhere(cls, options: NDArray[np.int64]) -> Plan:
        """Return the plan that looks in every segment, at options ``(B, T)``."""
        return cls(options, np.ones(np.shape(options), dtype=np.bool_))

    @property
    def kept_share(self) -> float:
        """Share of the segments in which f_L runs."""
        return float(self.attended.mean())

    def rows(self, which: NDArray[np.int64] | slice) -> Plan:
        """Return the plan of some of the videos."""
        named = None if self.named is None else self.named[which]
        return Plan(self.options[which], self.attended[which], named)


def check_plan(
    options: NDArray[np.int64], attended: NDArray[np.bool_], n_options: int | None = None
) -> None:
    """Check options and where they are attended.

    Args:
        options: ``(B, T)`` int64; any in ``[0, K)`` where nothing is attended.
        attended: ``(B, T)`` bool.
        n_options: K; None if it is not known yet.

    Raises:
        ValueError: If they are no arrays of these types and of one shape, or an option is not in
            ``[0, K)``.
    """
    integers = isinstance(options, np.ndarray) and options.dtype.kind in "iu" and options.ndim == 2
    masks = isinstance(attended, np.ndarray) and attended.dtype == np.bool_
    if not integers or not masks or options.shape != attended.shape:
        received = " and ".join(
            f"{getattr(each, 'dtype', type(each).__name__)} {np.shape(each)}"
            for each in (options, attended)
        )
        raise ValueError(
            f"expected integer options (B, T) and bool attended of the same shape; got {received}"
        )
    if not options.size:
        return
    if options.min() < 0 or (n_options is not None and options.max() >= n_options):
        known = "K" if n_options is None else n_options
        raise ValueError(
            f"options must be in [0, {known}), any of them where nothing is attended; got "
            f"{options.min()} to {options.max()}: say in `attended` where nothing is looked at"
        )
