"""The networks of an adaptive recognizer, in plain torch: f_G, f_L, f_C, π and what joins them."""

if __name__ == "recognizer":  # pragma: no cover
    raise ImportError(
        "./recognizer is the package focusgym.recognizer: run `pip install -e .`, "
        "then `import focusgym.recognizer`"
    )

import lazy_loader

# What is exported stands in __init__.pyi, and is imported when it is first used.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
