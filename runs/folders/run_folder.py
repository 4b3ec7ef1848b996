"""Runs that go on: what each was begun with stands in its folder, and no other may go on there.

Every verb whose work can be interrupted keeps its run so: what was asked for, by which command,
with which versions, on which data. ``train``, ``compare`` and ``quickstart`` work in the folder
itself; ``fit`` in one beside it, for its result appears whole. What is done again is their business
(`Steps`, checkpoints, cells that are there); how a folder appears at once, that of `atomic`.
"""

from __future__ import annotations

import json
import platform
import shlex
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch

from ... import __version__
from ...recognizer import in_words, library_versions, shortened
from ...recognizer.files.atomic import remove_unfinished, write_whole
from ...recognizer.files.documents import read_json, read_yaml
from ...recognizer.files.typed import typed
from ..options.devices import device_name
from ..options.moved import FOLDER, with_moved_paths
from ..options.presets import CONFIG, RUN, VERBS, check_types, resolved, write_config
from .atomic import OutputError, check_free, exclusive, output_folder

RESULTS = "results.json"
# Where a run computes, and where its parts are done, decides no more than rounding: it may go on
# elsewhere.
_ELSEWHERE = ("device", "executor", "transfer", "retries", "gpu-share")
_LIBRARIES = ("torch", "torchvision", "gymnasium", "stable-baselines3", "numpy", "decord", "av")


@contextmanager
def run_folder(
    out: Path,
    verb: str,
    config: Any,
    fingerprints: Mapping[str, str],
    *,
    resume: bool | None,
    may_change: Collection[str] = (),
    device: str = "cpu",
    files: Mapping[str, str] | None = None,
) -> Iterator[None]:
    """Make the folder of a run, or go on with one; inside the block no other process may.

    It gets ``config.yaml``, the resolved options, which as ``--preset`` give the same run again;
    and ``run.json``: command lines, versions, git revision, machine, fingerprints.

    Args:
        out: The folder: the config's ``out``, or one beside it that becomes it.
        verb: Such as ``train``.
        config: Options of the verb.
        fingerprints: Of what the run reads, by name.
        resume: Whether to go on with a run that is there; None goes on where there is one.
        may_change: Options that may then be others.
        device: Where it computes, noted for each command.
        files: Texts of further files that a folder has as soon as it is there, by name.

    Raises:
        OutputError: If something is there without ``resume``; if with it there is no run, or one
            with other settings or other data; if another process is at it; or if it cannot be
            made.
    """
    goes_on = is_run(out) if resume is None else resume
    if not goes_on:
        check = check_free if resume is None else check_new
        check(out)
        _make(out, verb, config, fingerprints, device, check, files or {})
    with _locked(out):
        remove_unfinished(out, (CONFIG, RUN, *(files or {})))
        if goes_on:
            check_settings(out, verb, config, may_change)
            record = _read_record(out)
            _check_data(out, record["fingerprints"], fingerprints, resolved(config))
            write_config(out / CONFIG, verb, config, _command())
            record["commands"].append(_command())
            record[FOLDER] = str(config.out.resolve())
            record["devices"].append(device_name(device))
            write_whole(out / RUN, json.dumps(record, indent=2))
        yield


def check_new(out: Path) -> None:
    """Refuse a place where something is, for a verb that goes on with --resume.

    Raises:
        OutputError: If something is there.
    """
    check_free(out, "--resume goes on with an interrupted run, or give another folder")


def check_settings(out: Path, verb: str, config: Any, may_change: Collection[str] = ()) -> None:
    """Refuse to go on with a run that was begun with other settings.

    Raises:
        OutputError: If it was, or if there is no run of this verb.
    """
    stored, current = stored_settings(out, verb), resolved(config)
    if stale := [name for name in stored if name not in current]:
        raise OutputError(
            f"{out} was begun with options that no longer exist ({', '.join(stale)}): give another "
            "folder"
        )
    other = [
        f"{name} was {stored.get(name)!r}, is {current[name]!r}"
        for name in current
        if current[name] != stored.get(name) and name not in (*may_change, *_ELSEWHERE)
    ]
    if other:
        raise OutputError(
            f"{out} was begun with other settings ({'; '.join(other[:3])}): go on with those it "
            "was begun with, or give another folder"
        )


def stored_settings(run: Path, verb: str) -> dict[str, Any]:
    """Return the options that a run was begun with; of what moved with it, where that is now.

    Raises:
        OutputError: If there is no run of this verb.
    """
    if not is_run(run):
        raise OutputError(
            f"{run} is no run of `focusgym {verb}`: give a folder that `focusgym {verb}` wrote"
        )
    try:
        content = read_yaml(run / CONFIG)
        settings = content.get(verb)
    except (OSError, ValueError, AttributeError) as error:
        raise OutputError(
            f"{run / CONFIG} is damaged ({in_words(error)}): put it back, or begin another run"
        ) from error
    if not isinstance(settings, dict):
        raise OutputError(
            f"{run} is a run of `focusgym {', '.join(map(str, content)):.80}`, not of `focusgym "
            f"{verb}`: give another folder"
        )
    try:
        if verb in VERBS:  # of a quickstart they are compared, and not used
            check_types(VERBS[verb], settings)
    except ValueError as error:
        raise OutputError(
            f"{run / CONFIG} is damaged ({error}): put it back, or begin another run"
        ) from error
    return with_moved_paths(run, RUN, settings)


def _record_of(verb: str, fingerprints: Mapping[str, str], device: str) -> dict[str, Any]:
    """Return by which command, versions, revision and machine a run is made, on which data."""
    return {
        "focusgym": __version__,
        "verb": verb,
        "commands": [_command()],
        "devices": [device_name(device)],  # of each command
        "git": _git_revision(),
        "versions": {"python": platform.python_version(), **library_versions(_LIBRARIES)},
        "machine": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "fingerprints": dict(fingerprints),
    }


def is_run(path: Path) -> bool:
    """Return whether a folder is that of a run."""
    return (path / CONFIG).is_file() and (path / RUN).is_file()


def verb_of(run: Path) -> str:
    """Return by which verb a run was made, such as ``fit end-to-end``.

    Raises:
        OutputError: If its ``run.json`` is damaged.
    """
    return str(_read_record(run).get("verb"))


def _make(
    out: Path,
    verb: str,
    config: Any,
    fingerprints: Mapping[str, str],
    device: str,
    check: Callable[[Path], None],
    files: Mapping[str, str],
) -> None:
    """Let the folder appear with its settings; of two at the same moment one is refused."""
    try:
        with output_folder(out, called=config.out) as folder:
            write_config(folder / CONFIG, verb, config, _command())
            record = _record_of(verb, fingerprints, device)
            record[FOLDER] = str(config.out.resolve())
            write_whole(folder / RUN, json.dumps(record, indent=2))
            for name, content in files.items():
                write_whole(folder / name, content)
    except (OutputError, OSError):
        check(out)  # another process was quicker, and may have removed what was begun here
        raise


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    """Keep others out of a run; the lock of a process that was killed is gone with it."""
    if not is_run(out):
        raise OutputError(f"{out} is no run: leave --resume out to begin one")
    with exclusive(out):
        yield


@dataclass(frozen=True)
class _Record:
    """What is read again of ``run.json``."""

    verb: str
    commands: list[str]
    fingerprints: dict[str, str | None]
    devices: list[str] = field(default_factory=list)


def _read_record(out: Path) -> dict[str, Any]:
    try:
        content = read_json(out / RUN)
        record = typed(_Record, content, others=True)
        return {**content, **asdict(record)}
    except (OSError, ValueError) as error:
        raise OutputError(
            f"{out / RUN} is damaged ({in_words(error)}): put it back, or begin another run"
        ) from error


def _check_data(
    out: Path, known: Mapping[str, str], now: Mapping[str, str], options: Mapping[str, Any]
) -> None:
    """Refuse data that changed; ``options`` say where each, or the cache that it is of, is."""
    changed = [
        f"{name}{f' in {where}' if where else ''} had the fingerprint "
        f"{shortened(known.get(name))}, has {shortened(now.get(name))} now"
        for name in dict.fromkeys((*known, *now))
        if known.get(name) != now.get(name)
        for where in (options.get(name) or options.get("cache"),)
    ]
    if changed:
        raise OutputError(
            f"{out} was begun on other data ({'; '.join(changed)}): put those back, or give "
            "another folder"
        )


def _command() -> str:
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


@cache
def _git_revision() -> str | None:
    """Return the commit of this source, with a + if files differ from it; None if unknown.

    It is asked for once: what this process has imported is what it runs.
    """
    source = Path(__file__).resolve()
    commands = (
        ("ls-files", "--error-unmatch", source.name),  # else installed inside another repository
        ("rev-parse", "HEAD"),
        ("status", "--porcelain", "--", "../.."),
    )
    try:
        _, revision, changed = (
            subprocess.run(
                ["git", "-C", source.parent, *what], capture_output=True, text=True, check=True
            ).stdout.strip()
            for what in commands
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{revision}+" if changed else revision
