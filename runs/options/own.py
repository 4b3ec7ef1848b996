"""What a user's own modules hold: imported where the user names it, and not where a file does."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from ...recognizer.files.documents import parse_yaml
from ...recognizer.registry import import_named
from ..configs.train import TrainConfig
from .checks import OptionError


def import_own(modules: Sequence[str]) -> None:
    """Import modules that ``--trust`` names.

    Raises:
        OptionError: If Python does not find one.
    """
    for module in modules:
        try:
            import_named(module)
        except ImportError as error:
            raise OptionError(
                f"--trust {module}: {error}: expected a module that Python finds by its whole "
                "name, such as my_systems"
            ) from error


def check_named_again(config: TrainConfig, stored: TrainConfig, path: Path) -> None:
    """Refuse what the settings of a run that goes on name in a module of somebody's own.

    The command line has to name it again, for the run may come from somebody else.

    Args:
        config: What the command line says.
        stored: The same with the run's settings.
        path: The file of the run's settings, for the message.

    Raises:
        OptionError: If the command line does not name it.
    """
    named = _places(config)
    for option, (value, places) in _places(stored).items():
        if places and named[option][0] != value:
            raise OptionError(
                f"{path}: {option} names {', '.join(places)}, which a file may not import: if it "
                f"is yours, name it again: `focusgym train {shlex.quote(str(stored.out))} --resume "
                f"--{option} {shlex.quote(str(value))}`"
            )


def _places(config: TrainConfig) -> Mapping[str, tuple[str | None, list[str]]]:
    """Return by option its value, and what it names as ``module:attribute``."""
    reward, learner = _read(config.reward), _read(config.learning.learner)
    by_option: dict[str, tuple[str | None, list[object]]] = {
        "system": (config.method.system, [config.method.system]),
        "reward": (config.reward, [reward.get("name")]),
        "learner": (config.learning.learner, [learner.get("algorithm"), learner.get("policy")]),
    }
    return {
        option: (value, [each for each in places if isinstance(each, str) and ":" in each])
        for option, (value, places) in by_option.items()
    }


def _read(text: str | None) -> Mapping[object, object]:
    """Return the mapping that an option is; of a name, that with the name; of nothing, none."""
    try:
        read = parse_yaml(text or "")
    except ValueError:  # which the verb refuses
        return {}
    return read if isinstance(read, dict) else {"name": read}
