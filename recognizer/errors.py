"""The base of all errors that a user can mend, and why something failed, in words."""

from __future__ import annotations

import json

_MOST = 300  # characters of a library's own text
_HEX = 12  # digits of a fingerprint in a message


class FocusgymError(ValueError):
    """Something in the input is wrong; the message says what was expected, what came, what to do.

    The command line prints the message alone and exits with status 2.
    """


class PredictionError(FocusgymError):
    """A recognizer's predictions are no numbers; the message says for which video, and why."""


def in_words(error: BaseException) -> str:
    """Return why something failed, on one line, without error numbers or names of classes.

    Args:
        error: Of the operating system, of Python, or of a library.
    """
    cause = getattr(error, "reason", None)  # of urllib's errors
    if isinstance(cause, BaseException):
        return in_words(cause)
    if said := getattr(error, "strerror", None):  # of OSError's, and of PyAV's errors
        return str(said)
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
