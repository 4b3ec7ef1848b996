"""The kinds of recognizers, by name."""

from __future__ import annotations

RECOGNIZERS: dict[str, str] = {
    "adaptive": "focusgym.recognizer.pipeline.adafocus:AdaptiveRecognizer",
    "cubes": "focusgym.recognizer.pipeline.cubes:CubeRecognizer",
    "afnet": "focusgym.recognizer.pipeline.afnet:AFNetRecognizer",
}


def name_of(kind: type) -> str:
    """Return the name by which bundles hold a kind: a key above, or ``module:attribute``.

    Raises:
        ValueError: If it is a class inside a function or a class, or of a program's main module,
            which no name finds again.
    """
    place = f"{kind.__module__}:{kind.__qualname__}"
    if "." in kind.__qualname__ or kind.__module__ == "__main__":
        raise ValueError(
            f"a bundle holds its recognizer by name, and {place} cannot be found by its own: "
            "define the class at the top of a module that is imported"
        )
    return next((name for name, where in RECOGNIZERS.items() if where == place), place)
