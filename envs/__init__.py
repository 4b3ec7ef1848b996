"""Gymnasium environments over a feature cache: the engine and its faces."""

if __name__ == "envs":  # pragma: no cover
    raise ImportError(
        "./envs is the package focusgym.envs: run `pip install -e .`, then `import focusgym.envs`"
    )

import gymnasium
import lazy_loader

for name in ("AdaFocus", "AdaFocusPlus"):
    gymnasium.register(
        f"focusgym/{name}-v0",
        entry_point=f"focusgym.envs.faces.env:{name}Env",
        vector_entry_point=f"focusgym.envs.faces.vector:{name}VectorEnv",
    )

# What is exported stands in __init__.pyi, and is imported when it is first used.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
