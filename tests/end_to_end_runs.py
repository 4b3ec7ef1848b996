"""A tiny run of ``focusgym fit end-to-end``: its command, and the frames that it reads."""

from __future__ import annotations

from pathlib import Path

from focusgym.recognizer import FrameConfig

T, S, P = 3, 64, 28
FRAMES = FrameConfig(T, S, order="halving")
_SIZES = ("--steps", T, "--hidden", 8, "--policy-hidden", 6, "--conv-channels", 3)
_HOW = ("--epochs", 2, "--batch-size", 5, "--seed", 3)
_RATES = [
    arg for name in ("glance", "local", "classifier", "policy") for arg in (f"--lr-{name}", 0.1)
]


def command(out: Path, data: Path, *more: object) -> list[str]:
    """Return the arguments behind ``focusgym fit`` for a run on digits."""
    given = ("end-to-end", out, "--videos", data, "--preset", "digits_v2", *_SIZES, *_HOW, *_RATES)
    return [*map(str, (*given, *more))]
