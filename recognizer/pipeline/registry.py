"""The kinds of recognizers, by name."""

from __future__ import annotations

from ..registry import place_of

RECOGNIZERS: dict[str, str] = {
    "adaptive": "focusgym.recognizer.pipeline.adafocus:AdaptiveRecognizer",
    "cubes": "focusgym.recognizer.pipeline.cubes:CubeRecognizer",
    "afnet": "focusgym.recognizer.pipeline.afnet:AFNetRecognizer",
}


def name_of(kind: type) -> str:
    """Return the name by which bundles hold a kind: a key above, or ``module:attribute``.

    Raises:
        ValueError: If no name finds it again; see `place_of`.
    """
    place = place_of("its recognizer", kind)
    return next((name for name, where in RECOGNIZERS.items() if where == place), place)
