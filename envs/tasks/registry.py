"""The environment ids: which config class each of them has; those of a task of your own too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import gymnasium

from ...recognizer.registry import check_imported, find, import_named
from ..config import EnvConfig, make_config

# Name -> module:class of the keywords; that class names the rules. A new task needs a file and a
# line here.
TASKS: dict[str, str] = {
    "AdaFocus": "focusgym.envs.config:EnvConfig",
    "AdaFocusPlus": "focusgym.envs.config:PlusConfig",
    "Boxes": "focusgym.envs.tasks.boxes:BoxesConfig",
    "Clip": "focusgym.envs.tasks.clip:ClipConfig",
    "Exit": "focusgym.envs.tasks.exits:ExitConfig",
    "Resolution": "focusgym.envs.tasks.resolutions:ResolutionConfig",
    "Cubes": "focusgym.envs.tasks.cubes:CubesConfig",
    "Jump": "focusgym.envs.tasks.jump:JumpConfig",
    "Subset": "focusgym.envs.tasks.subset:SubsetConfig",
    "Glimpses": "focusgym.envs.tasks.glimpses:GlimpsesConfig",
    "Pointers": "focusgym.envs.tasks.pointers:PointersConfig",
}

_ENTRY_POINT = "focusgym.envs.faces.env:FocusEnv"


def register_task(id_: str, task: str | type[EnvConfig]) -> None:
    """Register an id for `gymnasium.make`, `gymnasium.make_vec` and `make_sb3`.

    To give an id other default values, call `gymnasium.register` yourself: copy the entry points
    from ``gymnasium.spec("focusgym/Exit-v0")``, and put ``task`` and the values into ``kwargs``.

    Args:
        id_: Such as ``mine/Skim-v0``.
        task: The config class, which stands at the top of a module; or its name, one of `TASKS` or
            ``module:attribute``.

    Raises:
        ValueError: If the class stands inside a function or a class, where no name finds it.
        TypeError: If it is not a config class.
    """
    if not isinstance(task, str):
        if not (isinstance(task, type) and issubclass(task, EnvConfig)):
            raise TypeError(f"task must be a class derived from EnvConfig; got {task!r}")
        if "." in task.__qualname__:
            raise ValueError(
                f"{task.__qualname__} cannot be found by its name: define the class at the top of "
                "a module"
            )
        task = f"{task.__module__}:{task.__qualname__}"
    gymnasium.register(
        id_,
        entry_point=_ENTRY_POINT,
        vector_entry_point="focusgym.envs.faces.vector:FocusVectorEnv",
        kwargs={"task": task},
    )


def env_id(task: str) -> str:
    """Return the id of a task's environments, such as ``focusgym/AdaFocus-v0``.

    Args:
        task: One of `TASKS`. A name ``module:attribute`` is returned unchanged.
    """
    return task if ":" in task else f"focusgym/{task}-v0"


def task_of(id_: str, *, trusted: bool = True) -> tuple[str, dict[str, Any]]:
    """Return the name of the task that an id stands for, and keywords that come with the id.

    Args:
        id_: An id that is registered, such as ``focusgym/Exit-v0``, also with the module that
            registers it, ``my_tasks:mine/Skim-v0``; or ``module:attribute`` of a config class.
        trusted: Whether a module may be imported; see `find`.

    Raises:
        ValueError: If there is no such id, or it is that of another kind of environment.
        NotImported: If a module would have to be imported, and is not trusted.
    """
    if not isinstance(id_, str):
        raise ValueError(f"env_id must be a name; got {id_!r:.80}")
    module, _, name = id_.rpartition(":")
    is_class = module and name.isidentifier()  # ids have a version behind a hyphen
    if module and not is_class:
        if not trusted:
            check_imported("env_id", id_, module)
        try:
            import_named(module)
        except ImportError as error:
            raise ValueError(f"env_id {id_!r} cannot be imported ({error})") from error
    spec = gymnasium.registry.get(name)
    if spec is not None and spec.entry_point == _ENTRY_POINT:
        keywords = dict(spec.kwargs)
        return keywords.pop("task", "AdaFocus"), keywords
    if is_class:
        config_class(id_, trusted=trusted)
        return id_, {}
    ids = [each.id for each in gymnasium.registry.values() if each.entry_point == _ENTRY_POINT]
    raise ValueError(f"env_id must be one of {', '.join(ids)}; got {id_!r}")


def config_class(task: str, *, trusted: bool = True) -> type[EnvConfig]:
    """Return the config class of a task.

    Args:
        task: One of `TASKS`, or ``module:attribute`` of a class of your own.
        trusted: Whether a module that is not this project's may be imported; see `find`.

    Raises:
        ValueError: If there is no such task.
    """
    keywords_class = find("task", task, TASKS, trusted=trusted)
    if not (isinstance(keywords_class, type) and issubclass(keywords_class, EnvConfig)):
        raise ValueError(
            "task must be the class of its keywords, derived from focusgym.envs.EnvConfig; got "
            f"{task!r}, which is {keywords_class!r}"
        )
    if "task" in {each.name for each in fields(keywords_class)}:
        raise ValueError(
            f"{task!r}: its `task` is a keyword, which others could change: annotate it as "
            "ClassVar[str], or not at all"
        )
    return keywords_class


def config_of(id_: str, keywords: Mapping[str, Any], *, trusted: bool = True) -> EnvConfig:
    """Return the keywords of an environment, checked.

    Args:
        id_: As in `task_of`.
        keywords: As for ``gymnasium.make``.
        trusted: As in `task_of`.

    Raises:
        ValueError: If the id is unknown, or a value is not among those that are allowed.
        TypeError: If a keyword is unknown, or ``cache`` or ``classifier`` is missing.
    """
    task, keywords_of_id = task_of(id_, trusted=trusted)
    return make_config(config_class(task), {**keywords_of_id, **keywords})
