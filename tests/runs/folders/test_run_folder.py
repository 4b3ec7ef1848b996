"""The folder of a run: it appears whole, belongs to one process, and to one set of settings."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from shutil import rmtree
from threading import Barrier, Thread
from typing import Any

import pytest
import yaml

from focusgym.runs.cli import _parse
from focusgym.runs.configs.compare import ClassifierFitConfig, CompareConfig
from focusgym.runs.configs.executor import ExecutorConfig
from focusgym.runs.configs.train import PolicyTrainingConfig, SkipConfig, TrainConfig
from focusgym.runs.folders import run_folder as module
from focusgym.runs.folders.atomic import OutputError
from focusgym.runs.folders.run_folder import (
    check_new,
    check_settings,
    is_run,
    run_folder,
    stored_settings,
)

DATA = {"cache": "c" * 64, "classifier": "f" * 64}


def config_of(out: Path, **options: Any) -> TrainConfig:
    return TrainConfig(out, PolicyTrainingConfig(), SkipConfig(), **options)


def begin(config: TrainConfig, **options: Any) -> None:
    with run_folder(config.out, "train", config, DATA, **{"resume": False, **options}):
        pass


def content_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_what_it_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["/bin/focusgym", "train", "o u t", "--reward", "{name: x,\n draws: 1}\x1b"]
    monkeypatch.setattr(sys, "argv", words)
    out = tmp_path / "deep" / "out"
    config = config_of(out, reward=words[4], seed=3)
    begin(config)
    assert {path.name for path in out.iterdir()} == {"config.yaml", "run.json", ".lock"}
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    assert is_run(out)
    record = json.loads((out / "run.json").read_text())
    assert shlex.split(record["commands"][0]) == ["focusgym", *words[1:]]
    assert record["fingerprints"] == DATA
    assert record["versions"]["torch"] == version("torch")
    assert record["focusgym"] == version("focusgym")
    head = ["git", "-C", str(Path(module.__file__).parent), "rev-parse", "HEAD"]
    revision = subprocess.run(head, capture_output=True, text=True, check=True).stdout.strip()
    assert record["git"].rstrip("+") == revision
    assert stored_settings(out, "train")["reward"] == words[4]
    again = _parse(["train", str(out), "--preset", str(out / "config.yaml")])
    assert replace(again, preset=None) == config


def test_a_source_outside_a_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Installed into a folder of another repository, its revision is not ours."""
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    who = ["-c", "user.name=x", "-c", "user.email=x@y"]
    commit = ["git", "-C", str(tmp_path), *who, "commit", "-qm", "x", "--allow-empty"]
    subprocess.run(commit, check=True)
    for folder in (tmp_path / "site-packages", Path("/")):
        folder.mkdir(exist_ok=True)
        monkeypatch.setattr(module, "__file__", str(folder / "run_folder.py"))
        assert module._git_revision.__wrapped__() is None
    monkeypatch.setenv("PATH", "")
    assert module._git_revision.__wrapped__() is None


def test_names_do_not_collide(tmp_path: Path) -> None:
    out = tmp_path / "out"
    message = (
        f"{out} exists: nothing was touched; --resume goes on with an interrupted run, or give "
        "another folder"
    )

    def refused() -> None:
        with pytest.raises(OutputError) as caught:
            begin(config_of(out))
        assert str(caught.value) == message

    begin(config_of(out))
    before = content_of(out)
    refused()
    assert content_of(out) == before
    rmtree(out)
    for make in (out.mkdir, out.touch, lambda: out.symlink_to("nowhere")):
        make()
        refused()
        out.rmdir() if out.is_dir() else out.unlink()
    check_new(out)


def test_nowhere_to_write(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"file/out cannot be written \(.*: give another folder"):
        begin(config_of(tmp_path / "file" / "out"))


def test_two_at_the_same_moment(tmp_path: Path) -> None:
    """Each time, of two starts one is refused, and what is there is whole and the winner's."""
    for i in range(20):
        out, barrier, won, refused = tmp_path / f"{i}", Barrier(2), [], []

        def start(
            seed: int,
            out: Path = out,
            barrier: Barrier = barrier,
            won: list[int] = won,
            refused: list[str] = refused,
        ) -> None:
            barrier.wait()
            try:
                begin(config_of(out, seed=seed))
                won.append(seed)
            except OutputError as error:
                refused.append(str(error))

        threads = [Thread(target=start, args=(seed,)) for seed in (1, 2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == len(refused) == 1
        assert f"{out} exists: nothing was touched" in refused[0]
        assert stored_settings(out, "train")["seed"] == won[0]
    assert len([*tmp_path.iterdir()]) == 20


def test_one_process_at_a_time(tmp_path: Path) -> None:
    out = tmp_path / "out"
    config = config_of(out)
    with run_folder(out, "train", config, DATA, resume=False):
        before = content_of(out)
        with pytest.raises(OutputError) as caught:
            begin(config, resume=True)
        assert str(caught.value) == (f"{out}: another process is at it: wait for it, or stop it")
        assert content_of(out) == before
    code = f"""
import os, signal
from filelock import FileLock
FileLock({str(out / ".lock")!r}).acquire()
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == -9
    begin(config, resume=True)  # the lock is gone with who had it


def test_going_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    begin(config_of(out))
    monkeypatch.setattr(sys, "argv", ["focusgym", "again"])
    begin(config_of(out, resume=True, json=True), resume=True)  # of the command, not of the run
    record = json.loads((out / "run.json").read_text())
    assert record["commands"][1:] == ["focusgym again"]

    def refused(config: TrainConfig, **options: Any) -> str:
        before = content_of(out)
        with pytest.raises(OutputError) as caught:
            begin(config, resume=True, **options)
        assert content_of(out) == before
        return str(caught.value)

    other = config_of(out, seed=1, group=("g",))
    assert refused(other) == (
        f"{out} was begun with other settings (group was [], is ['g']; seed was 0, is 1): go on "
        "with those it was begun with, or give another folder"
    )
    assert "seed was 0, is 1" in refused(other, may_change=("group",))
    monkeypatch.setitem(DATA, "cache", "0" * 64)
    message = refused(config_of(out))
    assert f"{out} was begun on other data (cache in {config_of(out).cache} had the fing" in message
    assert f"has {'0' * 12}… now): put those back, or give another folder" in message
    monkeypatch.undo()
    begin(other, resume=True, may_change=("seed", "group"))
    assert stored_settings(out, "train")["group"] == ["g"]


def test_what_is_no_run(tmp_path: Path) -> None:
    out = tmp_path / "out"

    def refused(change: Callable[[], object]) -> str:
        rmtree(out, ignore_errors=True)
        begin(config_of(out))
        change()
        before = content_of(out) if out.exists() else None
        with pytest.raises(OutputError) as caught:
            begin(config_of(out), resume=True)
        assert (content_of(out) if out.exists() else None) == before
        return str(caught.value)

    for gone in ((out / "run.json").unlink, (out / "config.yaml").unlink, partial(rmtree, out)):
        assert refused(gone) == f"{out} is no run: leave --resume out to begin one"
    for text in ("train: {a", "[]", "1"):
        message = refused(lambda text=text: (out / "config.yaml").write_text(text))
        assert f"{out}/config.yaml is damaged (" in message
        assert message.endswith("): put it back, or begin another run")
    message = refused(lambda: (out / "config.yaml").write_text(yaml.safe_dump({"compare": {}})))
    assert message == (
        f"{out} is a run of `focusgym compare`, not of `focusgym train`: give another folder"
    )
    for text in ("{", "[]", "{}", '{"commands": 3, "fingerprints": {}}'):
        message = refused(lambda text=text: (out / "run.json").write_text(text))
        assert f"{out}/run.json is damaged (" in message
    with pytest.raises(OutputError, match="is no run of `focusgym train`: give a folder that"):
        stored_settings(tmp_path, "train")


def test_a_kill_while_settings_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of files that are replaced the former ones are whole."""
    out = tmp_path / "out"
    begin(config_of(out))
    before = content_of(out)
    monkeypatch.setattr(Path, "replace", lambda path, target: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        begin(config_of(out), resume=True)
    monkeypatch.undo()
    assert {name: content_of(out)[name] for name in before} == before
    begin(config_of(out), resume=True)
    assert not (out / "config.yaml.partial").exists()


def test_a_kill_while_the_folder_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it leaves is removed by the next call; another's folder of such a name is not."""
    out, others = tmp_path / "out", tmp_path / "out.partial-results"
    others.mkdir()
    (others / "notes.txt").touch()
    child = os.fork()
    if not child:
        monkeypatch.setattr(module, "_record_of", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        begin(config_of(out))
    os.waitpid(child, 0)
    (left,) = set(tmp_path.iterdir()) - {others}
    assert left.name.startswith("out.partial-")
    begin(config_of(out))
    assert {*tmp_path.iterdir()} == {out, others}


def test_options_that_no_longer_exist(tmp_path: Path) -> None:
    out = tmp_path / "out"
    begin(config_of(out))
    text = (out / "config.yaml").read_text()
    (out / "config.yaml").write_text(f"{text}  old-option: 3\n")
    with pytest.raises(OutputError) as caught:
        begin(config_of(out), resume=True)
    assert str(caught.value) == (
        f"{out} was begun with options that no longer exist (old-option): give another folder"
    )


def test_it_goes_on_wherever_its_parts_are_done(tmp_path: Path) -> None:
    """An executor decides nothing but where; other settings are refused as ever."""
    options = PolicyTrainingConfig(), SkipConfig(), ClassifierFitConfig()
    config = CompareConfig(tmp_path / "c", *options)
    elsewhere = replace(config, where=ExecutorConfig("ray", "object-store", 1))
    for each in (config, elsewhere, config):
        with run_folder(each.out, "compare", each, {}, resume=None):
            pass
    with pytest.raises(OutputError, match="seeds was 5, is 2"):
        check_settings(config.out, "compare", replace(elsewhere, seeds=2))
