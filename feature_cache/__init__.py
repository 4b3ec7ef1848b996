"""From video files to features on disk: lists, the embedded digits, decoding, building, reading."""

if __name__ == "feature_cache":  # pragma: no cover
    raise ImportError(
        "./feature_cache is the package focusgym.feature_cache: run `pip install -e .`, "
        "then `import focusgym.feature_cache`"
    )

import lazy_loader

# What is exported stands in __init__.pyi, and is imported when it is first used.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
