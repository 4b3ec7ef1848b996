"""Versions of the libraries that a result was made with."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version


def library_versions(names: Iterable[str]) -> dict[str, str]:
    """Return the version of each library by name; ``none`` for one that is not installed here."""
    versions = {}
    for name in names:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:  # decord has wheels for few platforms
            versions[name] = "none"
    return versions
