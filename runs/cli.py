"""The command ``focusgym``."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, NoReturn, cast

import tyro
from tyro.conf import OmitArgPrefixes, OmitSubcommandPrefixes, subcommand

from .configs.cache import CacheVerbs
from .configs.compare import CompareConfig
from .configs.evaluate import EvaluateConfig
from .configs.fit import FitVerbs
from .configs.import_checkpoint import ImportConfig
from .configs.quickstart import QuickstartConfig
from .configs.recognize import RecognizeConfig
from .configs.replay import ReplayConfig
from .configs.train import TrainConfig
from .preset import CONFIG, PresetError, with_preset

Command = (
    Annotated[QuickstartConfig, subcommand("quickstart")]
    | Annotated[CacheVerbs, subcommand("cache")]
    | Annotated[FitVerbs, subcommand("fit")]
    | Annotated[TrainConfig, subcommand("train")]
    | Annotated[EvaluateConfig, subcommand("evaluate")]
    | Annotated[CompareConfig, subcommand("compare")]
    | Annotated[ReplayConfig, subcommand("replay")]
    | Annotated[RecognizeConfig, subcommand("recognize")]
    | Annotated[ImportConfig, subcommand("import-checkpoint")]
)
# Where a verb is: module and function. Imported when it runs: torch takes seconds.
RUNNERS: Mapping[type[Any], tuple[str, str]] = {
    QuickstartConfig: ("quickstart", "quickstart"),
    CacheVerbs: ("cache", "run_cache_verb"),
    FitVerbs: ("fit", "run_fit_verb"),
    TrainConfig: ("train", "train"),
    EvaluateConfig: ("evaluate", "evaluate"),
    CompareConfig: ("compare", "compare"),
    ReplayConfig: ("replay", "replay"),
    RecognizeConfig: ("recognize", "recognize"),
    ImportConfig: ("import_checkpoint", "import_checkpoint"),
}


def main(args: Sequence[str] | None = None) -> None:
    """Run the command; a user's mistake ends with its message alone and exit status 2.

    Args:
        args: What stands behind ``focusgym``; None takes the process's own.
    """
    args = [*(sys.argv[1:] if args is None else args)]
    config = _parse(args)
    if isinstance(config, TrainConfig) and config.resume and (config.out / CONFIG).is_file():
        config = _parse(args, config.out / CONFIG)
    try:
        _run(config)
    except KeyboardInterrupt:
        again = "the same command goes on after what is complete"
        if isinstance(config, (EvaluateConfig, ReplayConfig, RecognizeConfig)):
            again = "nothing that was not finished is kept"
        if isinstance(config, TrainConfig) and (config.out / CONFIG).is_file():
            again = f"`focusgym train {config.out} --resume` goes on with it"
        print(f"\nfocusgym: interrupted; {again}", file=sys.stderr)
        raise SystemExit(130) from None


def _parse(args: Sequence[str], stored: Path | None = None) -> Any:
    """Return the config of the verb; settings of a run that goes on are those it has stored."""
    try:
        given = with_preset(args, stored)
    except PresetError as error:
        found = str(error)
        _fail(PresetError(found.replace(f"--preset {stored}", f"{stored}") if stored else found))
    return tyro.cli(
        cast(Any, Command),
        prog="focusgym",
        description="Learn where a video recognizer should look.",
        args=given,
        config=(OmitArgPrefixes, OmitSubcommandPrefixes),
    )


def _run(config: Any) -> None:
    module, function = RUNNERS[type(config)]
    if "" not in sys.path:  # a reward design of the user's own is found where the command is typed
        sys.path.append("")
    # Nothing heavy is imported before the command line is understood.
    verb = getattr(import_module(f".{module}", __package__), function)
    from ..recognizer import FocusgymError

    try:
        verb(getattr(config, "verb", config))
    except FocusgymError as error:
        _fail(error)


def _fail(error: Exception) -> NoReturn:
    print(f"focusgym: {error}", file=sys.stderr)
    raise SystemExit(2) from None
