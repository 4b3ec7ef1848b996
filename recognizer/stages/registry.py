"""The stages by name: those that the verbs of ``focusgym fit`` train, and a user's own."""

from __future__ import annotations

from typing import Any

from ..registry import find_class
from .stage import Stage

STAGES: dict[str, str] = {
    "encoder": "focusgym.recognizer.stages.networks:FullFrames",
    "patches": "focusgym.recognizer.stages.networks:OnPixels",
    "classifier": "focusgym.recognizer.stages.networks:OnFeatures",
    "end-to-end": "focusgym.recognizer.stages.end_to_end:EndToEnd",
    "cubes": "focusgym.recognizer.stages.cubes:CubesEndToEnd",
    "afnet": "focusgym.recognizer.stages.afnet:AFNetStage",
}


def find_stage(name: str, own: str | None = None) -> type[Any]:
    """Return the class of a stage, or one of a user's own that is trained in its place.

    Args:
        name: One of `STAGES`.
        own: ``module:attribute`` of a class derived from that stage, which is imported: it takes
            the same arguments and trains the same networks, and its losses are its own.

    Raises:
        ValueError: If there is no such stage, or yours is not derived from it.
    """
    base: type[Stage] = Stage  # type: ignore[type-abstract]
    stage = find_class("stage", name, STAGES, base, trusted=False)
    if own is None:
        return stage
    return find_class("stage", own, {name: STAGES[name]}, stage, trusted=True)
