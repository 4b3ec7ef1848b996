"""Gymnasium environments over a feature cache: the engine, the tasks and their faces."""

if __name__ == "envs":  # pragma: no cover
    raise ImportError(
        "./envs is the package focusgym.envs: run `pip install -e .`, then `import focusgym.envs`"
    )

import gymnasium
import lazy_loader

for name in (
    *("AdaFocus", "AdaFocusPlus", "Boxes", "Clip", "Exit", "Resolution"),
    *("Cubes", "Jump", "Subset", "Glimpses", "Pointers"),
):
    gymnasium.register(
        f"focusgym/{name}-v0",
        entry_point="focusgym.envs.faces.env:FocusEnv",
        vector_entry_point="focusgym.envs.faces.vector:FocusVectorEnv",
        kwargs={"task": name},
    )

# What is exported stands in __init__.pyi, and is imported when it is first used.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
