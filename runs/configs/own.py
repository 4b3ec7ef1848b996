"""What files may name of the user's own: an option that verbs share."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class OwnConfig:
    """Options of a verb that opens files which may name the user's own code.

    Attributes:
        trust: Modules of your own that bundles, caches and runs may name, such as my_networks: they
            are imported first. Such files may come from somebody else, so they import none by
            themselves.
    """

    trust: tuple[str, ...] = ()
