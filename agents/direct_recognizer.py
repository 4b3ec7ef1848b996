"""A system without an environment plugged back: what it reads comes in an order that it knows."""

from __future__ import annotations

import shutil
from dataclasses import replace
from inspect import signature
from pathlib import Path

import numpy as np

from ..envs import FeatureSource, PixelSource
from ..recognizer import ExitRule
from .looks import Looks
from .system_files import PlayedAlone
from .system_recognizer import SystemRecognizer
from .systems.direct_system import DirectSystem, Reader


class DirectRecognizer(SystemRecognizer):
    """f_G, f_L, f_C and a system that is played without an environment."""

    def __init__(
        self,
        system: DirectSystem,
        known_as: str,
        source: FeatureSource,
        setting: float,
        seed: int,
        kept: Path | None,
        *,
        precision: str = "float32",
        exits: ExitRule | None = None,
        reader: Reader | None = None,
    ) -> None:
        """Read the encoders, and what the system has learned.

        Args:
            system: The recipe.
            known_as: The name by which `find_system` finds it.
            source: Its cache and f_C.
            setting: Setting of the system, one of its ``settings`` or another.
            seed: Seed of the training of the system.
            kept: Folder of what it has learned; trained anew where that is missing.
            precision: In which the encoders compute: ``float32``, ``bfloat16`` or ``float16``.
            exits: When a video stops before the system ends it; None for never.
            reader: What ``system.reader`` gave of all this, where it was asked before; None to ask
                it here.

        Raises:
            ValueError: If the setting or the precision is invalid, or the system cannot have such
                exits.
            BundleError, CacheError: If an encoder or what was learned cannot be read.
        """
        super().__init__(source.cache, source.classifier, precision=precision)
        self._reader = reader or system.reader(source, setting, seed, kept)
        self._system, self._kept = system, kept
        self._played = PlayedAlone(known_as, setting, seed)
        self.exits = exits

    @property
    def can_stop(self) -> bool:
        """Whether what reads the videos takes exits."""
        return "exits" in signature(self._reader).parameters

    def play(self, source: PixelSource) -> Looks:
        """Read the segments of all videos of a source once."""
        exits = {"exits": self.exits} if self.can_stop else {}
        return self._reader(source, np.arange(len(source.running)), **exits)

    def _save_decider(self, folder: Path) -> PlayedAlone:
        if self._system.reads_features:
            raise ValueError(
                f"{self._system.name} asks the features of its cache what to read: recognize with "
                "its run, where the cache is"
            )
        if self._system.keeps and self._kept is None:
            raise ValueError(
                f"what {self._system.name} has learned was not kept: give `kept`, a folder for it"
            )
        if self._kept is not None and self._system.keeps:
            shutil.copytree(self._kept, folder)
        return replace(self._played, exits=self.exits)
