"""The base of all errors that a user can mend, and why something failed, in words."""

from __future__ import annotations

import json

_MOST = 300  # characters of a library's own text
_HEX = 12  # digits of a fingerprint in a message
_LINE = 2000  # characters of a line of a message
_END = 600  # of them at its end, where it says what to do


class FocusgymError(ValueError):
    """Something in the input is wrong; the message says what was expected, what came, what to do.

    The command line prints the message alone and exits with status 2. Whatever a message repeats
    of a file is made fit to print (`printable`).
    """

    def __init__(self, *args: object) -> None:
        """Take the message."""
        super().__init__(*(printable(each) if isinstance(each, str) else each for each in args))


class PredictionError(FocusgymError):
    """A recognizer's predictions are no numbers; the message says for which video, and why."""


def printable(text: str) -> str:
    r"""Return a text that may repeat what files hold, so that it can be printed.

    Control characters, with which a terminal can be told to do things, and others that show
    nothing or turn the direction of writing, become escapes such as ``\x1b``. Of a line that is
    too long the beginning and the end are kept. Lines stay lines.
    """
    return escaped("\n".join(map(_shortened_line, text.split("\n"))))


def escaped(text: str) -> str:
    r"""Return a text with escapes such as ``\x1b`` for what shows nothing; lines stay lines."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text
    )


def _shortened_line(line: str) -> str:
    if len(line) <= _LINE:
        return line
    left_out = len(line) - _LINE
    return f"{line[: _LINE - _END]}… ({left_out} characters) …{line[-_END:]}"


def in_words(error: BaseException) -> str:
    """Return why something failed, on one line, without error numbers or names of classes.

    Args:
        error: Of the operating system, of Python, or of a library.
    """
    cause = getattr(error, "reason", None)  # of urllib's errors
    if isinstance(cause, BaseException):
        return in_words(cause)
    if strerror := getattr(error, "strerror", None):  # of OSError's, and of PyAV's errors
        return str(strerror)
    if isinstance(error, UnicodeDecodeError):
        return f"it is not text in {error.encoding.upper()}"
    if isinstance(error, json.JSONDecodeError):
        return f"it is no JSON: {error.msg} in line {error.lineno}"
    if isinstance(error, KeyError):
        return f"{error.args[0]!r} is missing" if error.args else "something is missing"
    if isinstance(error, EOFError):
        return "it ends too early"
    text = " ".join(str(error).split())
    if len(text) > _MOST:
        text = f"{text[:_MOST]}…"
    return text or f"it gave no reason but {type(error).__name__}"


def shortened(fingerprint: str | None) -> str:
    """Return the first digits of a fingerprint or a digest, enough to tell it from others."""
    if fingerprint is None:
        return "none"
    return fingerprint if len(fingerprint) <= _HEX else f"{fingerprint[:_HEX]}…"
