"""Presets: options in a YAML file. Defaults < preset < command line. Imports nothing heavy."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Any, get_type_hints

import yaml

from ...recognizer.files.atomic import write_whole
from ...recognizer.files.documents import read_yaml
from ...recognizer.files.typed import typed_value
from ..configs.cache import CacheBuildConfig, CachePlanConfig
from ..configs.compare import CompareConfig
from ..configs.fit import (
    FitAFNetConfig,
    FitClassifierConfig,
    FitCubesConfig,
    FitEncoderConfig,
    FitEndToEndConfig,
    FitPatchesConfig,
)
from ..configs.train import TrainConfig
from .moved import with_moved_paths

# The verbs that presets have sections for.
VERBS: Mapping[str, type[Any]] = {
    "cache plan": CachePlanConfig,
    "cache build": CacheBuildConfig,
    "fit encoder": FitEncoderConfig,
    "fit patches": FitPatchesConfig,
    "fit classifier": FitClassifierConfig,
    "fit end-to-end": FitEndToEndConfig,
    "fit cubes": FitCubesConfig,
    "fit afnet": FitAFNetConfig,
    "train": TrainConfig,
    "compare": CompareConfig,
}
CONFIG = "config.yaml"  # the resolved options of a run, in its folder
RUN = "run.json"  # beside it: what it was made by, on which data, and where
# Said anew with every command: not part of what a run is.
_OF_THE_COMMAND = ("preset", "resume", "json", "videos_root", "trust", "where")


class PresetError(Exception):
    """A preset cannot be used; the message says why and what to do."""


@dataclass(frozen=True)
class Option:
    """An option of a verb.

    Attributes:
        field: Of the config that has it.
        is_flag: Whether it is ``--name`` or ``--no-name``, with no value.
        is_repeated: Whether each value wants its name again: ``--patch 96 --patch 128``.
        is_positional: Whether it has no name on the command line.
    """

    field: Field[Any]
    is_flag: bool
    is_repeated: bool
    is_positional: bool


_OPTIONS: dict[type[Any], Mapping[str, Option]] = {}  # of the configs that were asked for


def preset_names() -> list[str]:
    """Return the names of the presets that come with the package."""
    folder = files("focusgym.runs.presets")
    return sorted(f.name.removesuffix(".yaml") for f in folder.iterdir() if ".yaml" in f.name)


def options_of(config: type[Any]) -> Mapping[str, Option]:
    """Return the options of a verb's config by name, those of the configs in it included."""
    if config in _OPTIONS:
        return _OPTIONS[config]
    hints = get_type_hints(config)
    options: dict[str, Option] = {}
    for each in fields(config):
        hint = hints[each.name]
        if is_dataclass(hint):
            options.update(options_of(hint))  # type: ignore[arg-type]
        else:
            how = str(each.type)
            options[each.name.replace("_", "-")] = Option(
                each, hint is bool, "UseAppendAction[" in how, "Positional[" in how
            )
    _OPTIONS[config] = options
    return options


def check_types(config: type[Any], settings: Mapping[str, Any]) -> None:
    """Check that what a file says of a verb's options is of their types; others are passed over.

    Raises:
        ValueError: If a value is not.
    """
    hints = get_type_hints(config)
    for each in fields(config):
        hint, name = hints[each.name], each.name.replace("_", "-")
        if is_dataclass(hint):
            check_types(hint, settings)  # type: ignore[arg-type]
        elif name in settings:
            typed_value(hint, settings[name], name)


def with_preset(args: Sequence[str], stored: Path | None = None) -> list[str]:
    """Put the options of a preset behind those of the command line, where they are not given.

    Args:
        args: What stands behind ``focusgym``.
        stored: A file that is the preset if the command line names none, such as the settings of a
            run that goes on.

    Raises:
        PresetError: If there is no such preset, it is not readable, says nothing for the verb, or
            has unknown keys or what is no value of an option.
    """
    verb = next((v for v in VERBS if list(args[: len(v.split())]) == v.split()), None)
    if verb is None:
        return [*args]
    options = options_of(VERBS[verb])
    default = options["preset"].field.default if "preset" in options else None
    chosen = _value_of(args, "--preset") or stored or default
    if "preset" not in options or chosen in (None, MISSING):
        return [*args]
    option_names = {_name(arg) for arg in args if arg.startswith("--")}
    read = _read(str(chosen), verb, option_names).items()
    left = {key: value for key, value in read if key not in option_names}
    return [*args, *as_tokens(str(chosen), left, verb)]


def preset_options(preset: str, verb: str) -> dict[str, Any]:
    """Return what a preset says for a verb, as it is written there.

    Raises:
        PresetError: As `with_preset`.
    """
    return _read(preset, verb, set())


def preset_args(preset: str, verb: str) -> list[str]:
    """Return what a preset says for a verb, as on the command line.

    Raises:
        PresetError: As `with_preset`.
    """
    return as_tokens(preset, preset_options(preset, verb), verb)


def resolved(config: Any) -> dict[str, Any]:
    """Return the options of a verb's config as plain values by name, but those of the command."""
    options: dict[str, Any] = {}
    for each in fields(config):
        value = getattr(config, each.name)
        if each.name in _OF_THE_COMMAND:
            continue
        if is_dataclass(value):
            options |= resolved(value)
        elif "Positional[" not in str(each.type):
            options[each.name.replace("_", "-")] = _plain(value)
    return options


def write_config(path: Path, verb: str, config: Any, command: str) -> None:
    """Write the resolved options of a verb as a preset, which gives the same run again.

    The file appears complete, or not at all. The command is a comment in it.
    """
    # ASCII: YAML folds line breaks that only Unicode knows.
    text = yaml.safe_dump({verb: resolved(config)}, sort_keys=False)
    comment = "".join(c if c.isprintable() else " " for c in command)  # one line of it
    write_whole(path, f"# {comment}\n{text}")


def read_preset(preset: str) -> dict[str, Any]:
    """Read a preset by its name, or from a YAML file; that of a run may have moved with the run.

    Raises:
        PresetError: If there is none, or it is not readable as a mapping of mappings.
    """
    path = Path(preset)
    if path.suffix not in (".yaml", ".yml"):
        path = Path(str(files("focusgym.runs.presets").joinpath(f"{preset}.yaml")))
        if not path.is_file():
            known = preset_names()
            raise PresetError(
                f"--preset {preset}: there is no such preset: choose one of {', '.join(known)}, or "
                "give a file that ends in .yaml"
            )
    try:
        content = read_yaml(path)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise PresetError(f"--preset {preset} cannot be read: {why}") from error
    if not isinstance(content, dict) or not all(isinstance(s, dict) for s in content.values()):
        raise PresetError(
            f"--preset {preset}: expected sections of options, such as 'train:' with 'epochs: 20' "
            f"below it; got {str(content)[:80]!r}"
        )
    if path.name == CONFIG:
        return {str(s): with_moved_paths(path.parent, RUN, of) for s, of in content.items()}
    return content


def _read(preset: str, verb: str, option_names: set[str]) -> dict[str, Any]:
    """Return what a preset says for a verb, with checked keys.

    Of sections such as ``fit patches`` and ``fit patches --policy`` the one with most words counts
    of those whose options are all given.
    """
    content = read_preset(preset)
    fitting = []
    for section, options in content.items():
        of, *wanted = str(section).split(" --")
        if of not in VERBS or not {*wanted} <= options_of(VERBS[of]).keys():
            raise PresetError(
                f"--preset {preset}: unknown section {section!r}: the verbs are {', '.join(VERBS)}"
            )
        check_keys(preset, section, options, options_of(VERBS[of]))
        if of == verb and {*wanted} <= option_names:
            fitting.append(section)
    if not fitting:
        raise PresetError(
            f"--preset {preset} says nothing for `focusgym {verb}`: it has the sections "
            f"{', '.join(content)}; choose another preset, or leave --preset out"
        )
    return {str(k).replace("_", "-"): v for k, v in content[max(fitting, key=len)].items()}


def check_keys(
    preset: str, section: str, read: Mapping[Any, Any], options: Mapping[str, Option]
) -> None:
    """Check that a section of a preset names options of its verb.

    Raises:
        PresetError: If a key is not such an option; the message tells the closest one.
    """
    known = [name for name, option in options.items() if not option.is_positional]
    known = [name for name in known if name not in _OF_THE_COMMAND]
    for key in read:
        if str(key).replace("_", "-") not in known:
            close = get_close_matches(str(key), known, 1)
            raise PresetError(
                f"--preset {preset}: {section} has no option {key!r}"
                + (f", did you mean {close[0]!r}?" if close else ": remove it, or")
                + f" `focusgym {section.split(' --')[0]} --help` tells which there are"
            )


def as_tokens(preset: str, read: Mapping[str, Any], verb: str) -> list[str]:
    """Return options as on the command line."""
    options = options_of(VERBS[verb])
    tokens: list[str] = []
    for key, value in read.items():
        if options[key].is_flag:
            if not isinstance(value, bool):
                raise PresetError(
                    f"--preset {preset}: {verb}: {key} must be true or false; got {value!r}"
                )
            tokens.append(f"--{key}" if value else f"--no-{key}")
        elif not isinstance(value, list):
            tokens.append(f"--{key}={_text(value)}")  # in one: it may begin with a minus
        elif options[key].is_repeated:
            tokens += [f"--{key}={_text(each)}" for each in value]
        else:
            tokens += [f"--{key}", *map(_text, value)]
    return tokens


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value) if isinstance(value, (dict, list)) else str(value)


def _name(arg: str) -> str:
    """Return the option that an argument such as ``--no-lr_decay`` or ``--lr=1`` is about."""
    return arg.split("=")[0].removeprefix("--").replace("_", "-").removeprefix("no-")


def _value_of(args: Sequence[str], option: str) -> str | None:
    value = None
    for i, arg in enumerate(args):
        if arg == option and i + 1 < len(args):
            value = args[i + 1]
        if arg.startswith(f"{option}="):
            value = arg.split("=", 1)[1]
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    return [_plain(each) for each in value] if isinstance(value, tuple) else value
