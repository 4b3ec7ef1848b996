"""Policies as agents: fixed, learned, oracle; and PPO that trains the learned one."""

if __name__ == "agents":  # pragma: no cover
    raise ImportError(
        "./agents is the package focusgym.agents: run `pip install -e .`, "
        "then `import focusgym.agents`"
    )

import lazy_loader

# What is exported stands in __init__.pyi, and is imported when it is first used.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
