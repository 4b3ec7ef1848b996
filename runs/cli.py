"""The command ``focusgym``."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, NoReturn, cast

import tyro
from tyro.conf import OmitArgPrefixes, OmitSubcommandPrefixes, subcommand

from .. import __version__
from ..recognizer.errors import printable
from ..recognizer.files.disks import FULL, disk_error, leave_to_main_thread, refusal
from .configs.cache import (
    CacheHeadroomConfig,
    CacheInfoConfig,
    CachePlanConfig,
    CacheVerbs,
    CacheVerifyConfig,
)
from .configs.compare import CompareConfig
from .configs.data import DataDigitsConfig, DataPairsConfig, DataVerbs
from .configs.evaluate import EvaluateConfig
from .configs.fit import FitVerbs
from .configs.import_checkpoint import ImportConfig
from .configs.quickstart import QuickstartConfig
from .configs.recognize import RecognizeConfig
from .configs.replay import ReplayConfig
from .configs.systems import SystemsConfig
from .configs.train import TrainConfig
from .configs.tune import TuneConfig
from .options.checks import OptionError, check_options
from .options.mistakes import mistake
from .options.own import check_named_again, import_own
from .options.paths import check_paths
from .options.presets import CONFIG, PresetError, with_preset
from .options.terminal import take_any_text

Command = (
    Annotated[QuickstartConfig, subcommand("quickstart")]
    | Annotated[DataVerbs, subcommand("data")]
    | Annotated[CacheVerbs, subcommand("cache")]
    | Annotated[FitVerbs, subcommand("fit")]
    | Annotated[TrainConfig, subcommand("train")]
    | Annotated[TuneConfig, subcommand("tune")]
    | Annotated[EvaluateConfig, subcommand("evaluate")]
    | Annotated[CompareConfig, subcommand("compare")]
    | Annotated[ReplayConfig, subcommand("replay")]
    | Annotated[RecognizeConfig, subcommand("recognize")]
    | Annotated[ImportConfig, subcommand("import-checkpoint")]
    | Annotated[SystemsConfig, subcommand("systems")]
)
# Where a verb is: module and function. Imported when it runs: torch takes seconds.
RUNNERS: Mapping[type[Any], tuple[str, str]] = {
    QuickstartConfig: ("quickstart", "quickstart"),
    DataVerbs: ("data", "write_data"),
    CacheVerbs: ("cache", "run_cache_verb"),
    FitVerbs: ("fit", "run_fit_verb"),
    TrainConfig: ("train", "train"),
    TuneConfig: ("tune", "tune"),
    EvaluateConfig: ("evaluate", "evaluate"),
    CompareConfig: ("compare", "compare"),
    ReplayConfig: ("replay", "replay"),
    RecognizeConfig: ("recognize", "recognize"),
    ImportConfig: ("import_checkpoint", "import_checkpoint"),
    SystemsConfig: ("systems", "list_systems"),
}
_DESCRIPTION = "Learn where a video recognizer should look. --version tells the version."
_PRINTED, _ELSEWHERE = "what is printed", "send it elsewhere"
# Of these nothing is kept that goes on.
_AT_ONCE: tuple[type[Any], ...] = (
    CacheHeadroomConfig,
    CacheInfoConfig,
    CachePlanConfig,
    CacheVerifyConfig,
    DataDigitsConfig,
    DataPairsConfig,
    EvaluateConfig,
    ImportConfig,
    RecognizeConfig,
    ReplayConfig,
    SystemsConfig,
)


def main(args: Sequence[str] | None = None) -> None:
    """Run the command; a user's mistake ends with its message alone and exit status 2.

    Args:
        args: What stands behind ``focusgym``; None takes the process's own.
    """
    take_any_text()
    if args is None:
        leave_to_main_thread()
    args = [*(sys.argv[1:] if args is None else args)]
    config = None
    try:
        config = _parse(args)
        try:
            check_paths(config)
        except OptionError as error:
            _fail(str(error))
        if isinstance(config, TrainConfig) and config.resume and (config.out / CONFIG).is_file():
            from_command_line, config = config, _parse(args, config.out / CONFIG)
            try:
                check_named_again(from_command_line, config, config.out / CONFIG)
            except OptionError as error:
                _fail(str(error))
        _run(config)
    except KeyboardInterrupt:
        kept = "nothing was begun" if config is None else _what_is_kept(config)
        print(f"\nfocusgym: interrupted; {kept}", file=sys.stderr)
        raise SystemExit(130) from None


def _parse(args: Sequence[str], stored: Path | None = None) -> Any:
    """Return the config of the verb; settings of a run that goes on are those it has stored."""
    if problem := mistake(args, Command):
        _fail(problem)
    try:
        all_args = with_preset(args, stored)
    except PresetError as error:
        message = str(error)
        _fail(message.replace(f"--preset {stored}", f"{stored}") if stored else message)
    try:
        try:
            if args == ["--version"]:
                print(f"focusgym {__version__}")
                raise SystemExit
            return tyro.cli(
                cast(Any, Command),
                prog="focusgym",
                description=_DESCRIPTION,
                args=all_args,
                config=(OmitArgPrefixes, OmitSubcommandPrefixes),
            )
        finally:
            sys.stdout.flush()  # what --help has printed
    except OSError as error:
        _fail(refusal(_PRINTED, error, _ELSEWHERE))


def _run(config: Any) -> None:
    try:
        check_options(config)
    except OptionError as error:
        _fail(str(error))
    module, function = RUNNERS[type(config)]
    if "" not in sys.path:  # a reward design of the user's own is found where the command is typed
        sys.path.append("")
    try:
        import_own(getattr(getattr(config, "verb", config), "trust", ()))
    except OptionError as error:
        _fail(str(error))
    # Nothing heavy is imported before the command line is understood.
    verb = getattr(import_module(f".verbs.{module}", __package__), function)
    from ..recognizer import CheckpointError, FocusgymError

    try:
        verb(getattr(config, "verb", config))
    except Exception as error:
        refused = disk_error(error)
        is_full = refused is not None and refused.errno in FULL
        if isinstance(error, FocusgymError) and not (
            isinstance(error, CheckpointError) and is_full
        ):
            message = str(error)
        elif refused is not None:
            message = _refusal(error, refused, config)
        elif isinstance(error, UnicodeEncodeError):  # output takes any text: it names a file
            message = (
                f"{error.object!a} cannot be named in the encoding {error.encoding} of this "
                "environment: set PYTHONUTF8=1"
            )
        else:
            raise
        # Suspended loops end now: their progress bars end before the message begins.
        traceback.clear_frames(error.__traceback__)
        _fail(message)


def _what_is_kept(config: Any) -> str:
    """Return what is kept of a verb that ended early, and how it goes on."""
    if isinstance(getattr(config, "verb", config), _AT_ONCE):
        return "nothing that was not finished is kept"
    if isinstance(config, TrainConfig) and (config.out / CONFIG).is_file():
        return f"`focusgym train {config.out} --resume` goes on with it"
    return "the same command goes on after what is complete"


def _refusal(error: Exception, refused: OSError, config: Any) -> str:
    """Return what was refused where, as the user knows the place, and what to do."""
    out: Path | None = getattr(getattr(config, "verb", config), "out", None)
    name = refused.filename
    kept = f"; {_what_is_kept(config)}" if refused.errno in FULL else ""
    *_, (innermost, _) = traceback.walk_tb(error.__traceback__)
    if str(innermost.f_globals.get("__name__")).startswith(("rich.", "tqdm.")):
        return f"{refusal(_PRINTED, refused, _ELSEWHERE)}{kept}"
    is_out = out and (not name or os.path.abspath(name).startswith(os.path.abspath(out)))
    return f"{refusal(str(out if is_out else name or Path.cwd()), refused)}{kept}"


def _fail(message: str) -> NoReturn:
    with suppress(OSError):  # of the standard error output, where there is no other to tell it
        print(f"focusgym: {printable(message)}", file=sys.stderr)
    raise SystemExit(2) from None
