"""Algorithms of Stable-Baselines3 and of libraries like it, by name."""

from __future__ import annotations

import inspect
from types import ModuleType

from stable_baselines3.common.base_class import BaseAlgorithm

from ...recognizer.registry import check_imported, import_named

# Where algorithms are looked for by their names alone.
_LIBRARIES = ("stable_baselines3", "sb3_contrib", "focusgym.agents")


def find_algorithm(name: str, *, trusted: bool = True) -> type[BaseAlgorithm]:
    """Return an algorithm class.

    Args:
        name: Of a class of Stable-Baselines3, sb3-contrib or focusgym, such as ``PPO``; or
            ``module:attribute`` of any other subclass of SB3's ``BaseAlgorithm``.
        trusted: Whether a module that is not this project's may be imported; see `find`.

    Raises:
        ValueError: If there is no such algorithm, or its module was not imported and the name is
            not trusted.
    """
    if not isinstance(name, str):
        raise ValueError(f"algorithm must be a name; got {name!r:.80}")
    module, separator, attribute = name.rpartition(":")
    if separator and not trusted:
        check_imported("algorithm", name, module)
    known: dict[str, type[BaseAlgorithm]] = {}
    for library in [module] if separator else _LIBRARIES:
        try:
            known |= _algorithms(import_named(library))
        except ImportError as error:
            if separator:
                raise ValueError(f"algorithm {name}: {error}") from error
    if attribute not in known:
        where = module if separator else "Stable-Baselines3, sb3-contrib (if installed) or focusgym"
        raise ValueError(
            f"algorithm {name}: there is no such algorithm in {where}: expected one of "
            f"{', '.join(sorted(known)) or 'its own'}{'' if separator else ', or module:attribute'}"
        )
    return known[attribute]


def _algorithms(module: ModuleType) -> dict[str, type[BaseAlgorithm]]:
    names = {name: getattr(module, name) for name in dir(module)}
    return {
        name: value
        for name, value in names.items()
        if inspect.isclass(value) and issubclass(value, BaseAlgorithm) and not name.startswith("_")
    }
