"""Steps of a run: each done once, and again when what it depends on has changed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from rich.console import Console

from focusgym.runs.folders.atomic import OutputError
from focusgym.runs.folders.steps import Steps


def test_steps_are_redone_from_the_first_that_changed(tmp_path: Path) -> None:
    done: list[str] = []
    out = tmp_path / "out"

    def run(a: int, b: int, fail: bool = False) -> list[str]:
        done.clear()
        steps = Steps(out, Console(quiet=True))
        for name, value in (("first", a), ("second", b), ("third", 0)):

            def make(folder: Path, name: str = name) -> None:
                folder.mkdir()
                if fail and name == "second":
                    raise KeyboardInterrupt
                done.append(name)

            assert steps.run(name, {"value": value}, make) == out / name
        return list(done)

    assert run(1, 1) == ["first", "second", "third"]
    assert run(1, 1) == []
    assert run(1, 2) == ["second", "third"]
    with pytest.raises(KeyboardInterrupt):
        run(2, 2, fail=True)
    assert run(2, 2) == ["second", "third"], "what was complete is kept"
    assert run(1, 1) == ["first", "second", "third"]
    assert sorted(path.name for path in out.iterdir()) == ["first", "second", "third"]


def test_a_step_is_replaced_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted while the old result is deleted: what is there is complete."""

    def make(folder: Path) -> None:
        folder.mkdir()
        for i in range(5):
            (folder / f"{i}.txt").touch()

    def run(value: int) -> Path:
        return Steps(tmp_path / "out", Console(quiet=True)).run("data", {"v": value}, make)

    run(0)
    delete = shutil.rmtree

    def interrupted(path: Path, ignore_errors: bool = False) -> None:
        if path.exists() and "replaced" in path.name:
            (path / "0.txt").unlink()
            raise KeyboardInterrupt
        delete(path, ignore_errors)

    monkeypatch.setattr("focusgym.recognizer.files.atomic.shutil.rmtree", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(1)
    monkeypatch.undo()
    for value in (1, 0):
        assert len(list(run(value).glob("*.txt"))) == 5
    assert not (tmp_path / "out" / "data.replaced").exists()


def test_a_folder_in_the_way_is_left_alone(tmp_path: Path) -> None:
    mine = tmp_path / "data" / "mine.txt"
    mine.parent.mkdir()
    mine.touch()
    with pytest.raises(OutputError, match="is in the way: it is not a complete step"):
        Steps(tmp_path, Console(quiet=True)).run("data", {}, lambda folder: folder.mkdir())
    assert mine.exists()


def test_what_a_killed_process_left_is_gone(tmp_path: Path) -> None:
    left = tmp_path / "data.partial-0123abcd"
    left.mkdir()
    (left / "half").touch()
    Steps(tmp_path, Console(quiet=True)).run("data", {}, lambda folder: folder.mkdir())
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
