"""Compute as people read it: GMACs, or a smaller unit where GMACs would start with zeros."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ComputeUnit:
    """A unit of multiply-adds.

    Attributes:
        name: ``GMACs``, ``MMACs`` or ``kMACs``.
        per_gmac: How many of it make a GMAC.
    """

    name: str
    per_gmac: int

    def number(self, gmacs: float, digits: int = 4) -> str:
        """Return an amount of GMACs in this unit, without the unit's name.

        Args:
            gmacs: The amount.
            digits: Significant digits; those before the point are never rounded away.
        """
        amount = gmacs * self.per_gmac
        return f"{amount:.0f}" if amount >= 10**digits - 0.5 else f"{amount:.{digits}g}"


UNITS = (ComputeUnit("GMACs", 1), ComputeUnit("MMACs", 10**3), ComputeUnit("kMACs", 10**6))


def compute_unit(*gmacs: float) -> ComputeUnit:
    """Return the largest unit in which the smallest of some amounts is at least 1.

    Amounts that stand in one column or on one axis share a unit. Zeros do not count.

    Args:
        *gmacs: The amounts, GMACs.
    """
    smallest = min((amount for amount in gmacs if amount > 0), default=1.0)
    fitting = (unit for unit in UNITS if smallest * unit.per_gmac >= 1)
    return next(fitting, UNITS[-1])


def format_gmacs(gmacs: float, digits: int = 4) -> str:
    """Return an amount of GMACs with its unit: ``26.58 GMACs``, ``9.188 MMACs``."""
    unit = compute_unit(gmacs)
    return f"{unit.number(gmacs, digits)} {unit.name}"
