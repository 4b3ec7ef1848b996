"""The stages by name: those that the verbs of ``focusgym fit`` train, and a user's own."""

from __future__ import annotations

from typing import TypeVar

from ..registry import find_class
from .stage import Stage

S = TypeVar("S", bound=Stage)

STAGES: dict[str, str] = {
    "encoder": "focusgym.recognizer.stages.networks:FullFrames",
    "patches": "focusgym.recognizer.stages.networks:OnPixels",
    "classifier": "focusgym.recognizer.stages.networks:OnFeatures",
    "end-to-end": "focusgym.recognizer.stages.end_to_end:EndToEnd",
    "cubes": "focusgym.recognizer.stages.cubes:CubesEndToEnd",
    "afnet": "focusgym.recognizer.stages.afnet:AFNetStage",
}


def stage_class(name: str, base: type[S]) -> type[S]:
    """Return the class of a stage that is trained in the place of another one.

    Args:
        name: One of `STAGES`, or ``module:attribute`` of your own, which is imported.
        base: The stage in whose place it is: the class is derived from it, so that it takes the
            same arguments and trains the same networks. Its losses are its own.

    Raises:
        ValueError: If there is no such stage, or it is not derived from ``base``.
    """
    return find_class("stage", name, STAGES, base, trusted=True)
