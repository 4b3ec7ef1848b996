"""Terminals that are not UTF-8: they get what they can show."""

from __future__ import annotations

import codecs
import io
import sys

# Of what verbs print: characters of the same width that every terminal has.
_PLAIN = {"–": "-", "′": "'", "×": "x", "→": ">", "✓": "+", "•": "*"}
_HANDLER = "focusgym.plainly"


def take_any_text() -> None:
    """Let both standard outputs take any text: names of files and of classes may be any.

    What the encoding lacks becomes a plain character or a backslash escape; rich draws the lines of
    its tables in ASCII by itself.
    """
    codecs.register_error(_HANDLER, _plainly)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_HANDLER)


def _plainly(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    plain = (_PLAIN.get(c) or c.encode("ascii", "backslashreplace").decode() for c in lacking)
    return "".join(plain), error.end
