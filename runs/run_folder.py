"""The folder of a run: what was asked for, by which command, with which versions, on which data."""

from __future__ import annotations

import json
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Collection, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import yaml

from .preset import CONFIG, resolved, write_config
from .steps import VERSION, OutputError

RUN = "run.json"
RESULTS = "results.json"
_LIBRARIES = ("torch", "torchvision", "gymnasium", "stable-baselines3", "numpy", "decord")


def begin_run(
    out: Path,
    verb: str,
    config: Any,
    fingerprints: Mapping[str, str],
    *,
    resume: bool,
    may_change: Collection[str] = (),
) -> None:
    """Make the folder of a run, or find it as an interruption left it.

    It gets ``config.yaml``, the resolved options, which as ``--preset`` give the same run again;
    and ``run.json``: command lines, versions, git revision, machine, fingerprints.

    Args:
        out: The folder.
        verb: Such as ``train``.
        config: Of the verb.
        fingerprints: Of what the run reads, by name.
        resume: Whether to go on with a run that is there.
        may_change: Options that may then be others.

    Raises:
        OutputError: If something is there without ``resume``; if with it there is no run, or one
            with other settings or other data; or if it cannot be made.
    """
    if resume:
        _check_same(out, verb, config, fingerprints, may_change)
        write_config(out / CONFIG, verb, config, _command())
        record = json.loads((out / RUN).read_text())
        record["commands"].append(_command())
        write_whole(out / RUN, json.dumps(record, indent=2))
        return
    check_new(out)
    partial = out.with_name(f".{out.name}.begun")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        write_config(partial / CONFIG, verb, config, _command())
        (partial / RUN).write_text(json.dumps(_record(fingerprints), indent=2))
        partial.rename(out)
    except OSError as error:
        raise OutputError(f"{out} cannot be written ({error}): give another folder") from error


def check_new(out: Path) -> None:
    """Refuse a place where something is.

    Raises:
        OutputError: If something is there.
    """
    if out.exists() or out.is_symlink():
        raise OutputError(
            f"{out} exists: nothing was touched; --resume goes on with an interrupted run, or give "
            "another folder"
        )


def write_whole(path: Path, text: str) -> None:
    """Write a file that appears complete, or not at all."""
    beside = path.with_name(f"{path.name}.partial")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)


def is_run(path: Path) -> bool:
    """Return whether a folder is that of a run."""
    return (path / CONFIG).is_file() and (path / RUN).is_file()


def _check_same(
    out: Path,
    verb: str,
    config: Any,
    fingerprints: Mapping[str, str],
    may_change: Collection[str],
) -> None:
    if not is_run(out):
        raise OutputError(
            f"{out} is no run of `focusgym {verb}`: there is nothing to go on with; leave --resume "
            "out to begin one"
        )
    there = yaml.safe_load((out / CONFIG).read_text()).get(verb, {})
    here = resolved(config)
    other = [
        f"{name} {there.get(name)!r}"
        for name in here
        if here[name] != there.get(name) and name not in may_change
    ]
    if other:
        raise OutputError(
            f"{out} was begun with other settings ({', '.join(other[:3])}): go on without giving "
            "them, or give another folder"
        )
    known = json.loads((out / RUN).read_text())["fingerprints"]
    if known != dict(fingerprints):
        raise OutputError(
            f"{out} was begun on other data (fingerprints {known}, now {dict(fingerprints)}): put "
            "those back, or give another folder"
        )


def _record(fingerprints: Mapping[str, str]) -> dict[str, Any]:
    return {
        "focusgym": VERSION,
        "commands": [_command()],
        "git": _git_revision(),
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in _LIBRARIES},
        "machine": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "fingerprints": dict(fingerprints),
    }


def _command() -> str:
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


def _git_revision() -> str | None:
    """Return the commit of this source, with a + if files differ from it; None if unknown."""
    source = Path(__file__).resolve().parent
    try:
        revision, changed = (
            subprocess.run(
                ["git", "-C", source, *what], capture_output=True, text=True, check=True
            ).stdout.strip()
            for what in (("rev-parse", "HEAD"), ("status", "--porcelain", "--", ".."))
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{revision}+" if changed else revision
