"""Running the verb ``compare`` in this process, on a tiny cache."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from comparisons import HOW
from support import write_cache

from focusgym.runs.cli import main
from focusgym.runs.executors.local import in_turn
from focusgym.runs.executors.units import Unit

Calls = list[list[str]]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_cache(tmp_path / "cache", n=20)
    return tmp_path


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, root: Path) -> Calls:
    """Make calls in this process, one after the other; note which."""
    unit_names: Calls = []

    def serially(
        function: Callable[..., None], units: Mapping[str, Unit], title: str, done: int = 0
    ) -> None:
        unit_names.append([str(Path(name).relative_to(root)) for name in units])
        with redirect_stdout(io.StringIO()):  # as in processes, where nobody hears it
            in_turn(function, units, title)

    monkeypatch.setattr(
        "focusgym.runs.verbs.compare.executor_of", lambda *_, **__: nullcontext(serially)
    )
    return unit_names


@pytest.fixture
def no_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw nothing, in tests that look at what is trained."""

    def write(path: Path, *_: object) -> None:
        path.write_text("plots")

    monkeypatch.setattr("focusgym.runs.verbs.compare.comparison_page", write)


@pytest.fixture
def compare(root: Path, calls: Calls, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Run the verb with --json; return the summary."""

    def run(out: str, *args: object) -> dict[str, Any]:
        calls.clear()
        capsys.readouterr()
        more = () if "--runs" in args else (f"--cache={root}/cache", *HOW)
        main(["compare", str(root / out), *map(str, (*more, *args)), "--json"])
        stdout = capsys.readouterr().out
        summary: dict[str, Any] = json.loads(stdout, parse_constant=int)  # fails on NaN: no JSON
        assert json.loads((root / out / "results.json").read_text()) == summary
        return summary

    return run


@pytest.fixture
def refused(root: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    def run(out: str, *args: object) -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main(["compare", str(root / out), f"--cache={root}/cache", *HOW, *map(str, args)])
        assert caught.value.code == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith("focusgym: ")
        assert captured.err.count("\n") == 1
        return captured.err.removeprefix("focusgym: ").strip().replace(str(root), "ROOT")

    return run
