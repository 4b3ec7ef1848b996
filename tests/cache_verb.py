"""``focusgym cache`` in tests: options of small caches, and what it prints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from focusgym.runs.cli import main

FRAMES = ("--steps", "2", "--frame", "64", "--resize", "0")
GLANCE = ("--glance", "small_glance", "--weights", "small_glance=random", "--glance-px", "12")
BARE = (*GLANCE, "--weights", "small_local=random", *FRAMES)
SMALL = (*BARE, "--group", "patches:small_local:28")


def run(capsys: pytest.CaptureFixture[str], *args: str | Path, status: int | None = None) -> str:
    """Run the command; return what it printed, errors included."""
    if status is None:
        main(["cache", *map(str, args)])
    else:
        with pytest.raises(SystemExit) as caught:
            main(["cache", *map(str, args)])
        assert caught.value.code == status
    captured = capsys.readouterr()
    return " ".join((captured.out + captured.err).split())


def run_json(
    capsys: pytest.CaptureFixture[str], *args: str | Path, status: int | None = None
) -> dict[str, Any]:
    """Run the command with --json; return the object that is all of its standard output."""
    capsys.readouterr()
    if status is None:
        main(["cache", *map(str, args), "--json"])
    else:
        with pytest.raises(SystemExit) as caught:
            main(["cache", *map(str, args), "--json"])
        assert caught.value.code == status
    report: dict[str, Any] = json.loads(capsys.readouterr().out)
    return report


def lists(data: Path, suffix: str) -> list[str | Path]:
    pairs = [(f"--{split}", data / f"{split}.{suffix}") for split in ("train", "val", "test")]
    return ["--videos", data, *[part for pair in pairs for part in pair]]
