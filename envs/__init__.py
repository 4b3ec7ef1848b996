"""Gymnasium environments over a feature cache: the engine, the tasks and their faces."""

if __name__ == "envs":  # pragma: no cover
    raise ImportError(
        "./envs is the package focusgym.envs: run `pip install -e .`, then `import focusgym.envs`"
    )

import lazy_loader

from .tasks.registry import TASKS, env_id, register_task

for name in TASKS:
    register_task(env_id(name), name)

# What is exported stands in __init__.pyi, and is imported when it is first used.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
