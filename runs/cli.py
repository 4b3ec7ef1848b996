"""The command ``focusgym``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Any, cast

import tyro
from tyro.conf import OmitArgPrefixes, OmitSubcommandPrefixes, subcommand

from .configs.cache import CacheVerbs
from .configs.fit import FitVerbs
from .configs.import_checkpoint import ImportConfig
from .configs.quickstart import QuickstartConfig
from .configs.recognize import RecognizeConfig

Command = (
    Annotated[QuickstartConfig, subcommand("quickstart")]
    | Annotated[CacheVerbs, subcommand("cache")]
    | Annotated[FitVerbs, subcommand("fit")]
    | Annotated[RecognizeConfig, subcommand("recognize")]
    | Annotated[ImportConfig, subcommand("import-checkpoint")]
)


def main(args: Sequence[str] | None = None) -> None:
    """Run the command; a user's mistake ends with its message alone and exit status 2.

    Args:
        args: What stands behind ``focusgym``; None takes the process's own.
    """
    config = tyro.cli(
        cast(Any, Command),
        prog="focusgym",
        description="Learn where a video recognizer should look.",
        args=args,
        config=(OmitArgPrefixes, OmitSubcommandPrefixes),
    )
    try:
        _run(config)
    except KeyboardInterrupt:
        print(
            "\nfocusgym: interrupted; the same command goes on after what is complete",
            file=sys.stderr,
        )
        raise SystemExit(130) from None


def _run(config: Any) -> None:
    # Nothing heavy is imported before the command line is understood.
    from ..recognizer import FocusgymError

    try:
        match config:
            case QuickstartConfig():
                from .quickstart import quickstart

                quickstart(config)
            case FitVerbs():
                from .fit import run_fit_verb

                run_fit_verb(config.verb)
            case RecognizeConfig():
                from .recognize import recognize

                recognize(config)
            case ImportConfig():
                from .import_checkpoint import import_checkpoint

                import_checkpoint(config)
            case _:
                from .cache import run_cache_verb

                run_cache_verb(config.verb)
    except FocusgymError as error:
        print(f"focusgym: {error}", file=sys.stderr)
        raise SystemExit(2) from None
