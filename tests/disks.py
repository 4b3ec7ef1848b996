"""Real disks, small ones in memory; only root may mount them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

PAGE = os.sysconf("SC_PAGE_SIZE")
_ROOM = 20_000  # pages


@dataclass(frozen=True)
class Disk:
    """A disk of its own.

    Attributes:
        place: Where it is mounted.
    """

    place: Path

    @classmethod
    @contextmanager
    def mounted(cls, place: Path) -> Iterator[Disk]:
        """Mount one with much room, or skip the test."""
        place.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"nr_blocks={_ROOM}", "focusgym", place]
        try:
            mounted = subprocess.run(mount, capture_output=True, text=True)
        except FileNotFoundError:
            pytest.skip("there is no `mount` here: disks are tested on Linux")
        if mounted.returncode:
            pytest.skip(f"no disk can be mounted, which takes root ({mounted.stderr.strip()})")
        try:
            yield cls(place)
        finally:
            subprocess.run(["umount", "-l", place], check=True)

    def change(self, options: str) -> None:
        """Change how it is mounted."""
        subprocess.run(["mount", "-o", f"remount,{options}", self.place], check=True)

    def used(self) -> int:
        """Return how many of its pages are used."""
        file_system = os.statvfs(self.place)
        return (file_system.f_blocks - file_system.f_bfree) * file_system.f_frsize // PAGE

    def has_pages(self, n: int) -> None:
        """Empty it, and let it have so many pages."""
        for path in self.place.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        self.change(f"nr_blocks={n}")

    def grows(self) -> None:
        """Let it have much room again."""
        self.change(f"nr_blocks={_ROOM}")
