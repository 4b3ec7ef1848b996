"""Errors that a user can mend."""


class FocusgymError(ValueError):
    """Something in the input is wrong; the message says what was expected, what came, what to do.

    The command line prints the message alone and exits with status 2.
    """


class PredictionError(FocusgymError):
    """A recognizer's predictions are no numbers; the message says for which video, and why."""
