"""The command ``focusgym``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tyro.extras import subcommand_cli_from_dict

from .config import QuickstartConfig


def main(args: Sequence[str] | None = None) -> None:
    """Run the command; a user's mistake ends with its message alone and exit status 2.

    Args:
        args: What stands behind ``focusgym``; None takes the process's own.
    """
    config = subcommand_cli_from_dict(
        {"quickstart": QuickstartConfig},
        prog="focusgym",
        description="Learn where a video recognizer should look.",
        args=args,
    )
    # Nothing heavy is imported before the command line is understood.
    from ..recognizer import FocusgymError
    from .quickstart import quickstart

    try:
        quickstart(config)
    except FocusgymError as error:
        print(f"focusgym: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print(
            "\nfocusgym: interrupted; the same command goes on after the last complete step",
            file=sys.stderr,
        )
        raise SystemExit(130) from None
