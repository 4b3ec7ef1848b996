"""A tiny run of ``focusgym fit end-to-end``: its command, and the frames that it reads."""

from __future__ import annotations

from pathlib import Path

from focusgym.recognizer import FrameConfig

T, S, P = 3, 64, 28
FRAMES = FrameConfig(T, S, order="halving")
_SIZES = ("--steps", T, "--hidden", 8)
_OF_A_POLICY = ("--policy-hidden", 6, "--conv-channels", 3, "--lr-policy", 0.1)
_HOW = ("--epochs", 2, "--batch-size", 5, "--seed", 3)
_RATES = [arg for name in ("glance", "local", "classifier") for arg in (f"--lr-{name}", 0.1)]


def command(out: Path, data: Path, *more: object) -> list[str]:
    """Return the arguments behind ``focusgym fit`` for a run on digits."""
    given = ("end-to-end", out, "--videos", data, "--preset", "digits_v2", *_SIZES, *_HOW, *_RATES)
    of_a_policy = () if "--boxes" in more else _OF_A_POLICY
    return [*map(str, (*given, *of_a_policy, *more))]
