"""Small recognizers with cubes, gates and exits, systems and comparisons, and what reads them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from functools import cache as cached
from io import StringIO
from pathlib import Path
from typing import Any

import cube_recognizers
import torch
import tyro
from af_networks import make as make_network
from digit_caches import digit_cache
from readers import Kind, digest, read_recognizer_bundle
from safetensors.torch import save_file
from support import small_group, write_classifier

from focusgym.agents import find_system, read_system_recognizer
from focusgym.agents.system_files import NAME
from focusgym.feature_cache import CacheConfig, DigitsConfig, FeatureCache
from focusgym.recognizer import (
    AFNetRecognizer,
    Encoder,
    EncoderConfig,
    FrameConfig,
    WholeFrame,
    read_recognizer,
)
from focusgym.recognizer.files.regular import file_digest
from focusgym.runs.cli import main
from focusgym.runs.comparison.summary import summarise
from focusgym.runs.comparison.systems import run_systems, system_cells, system_jobs
from focusgym.runs.comparison.table import table
from focusgym.runs.comparison.times import TIMES
from focusgym.runs.configs.compare import CompareConfig
from focusgym.runs.evaluation.budgets import exits_within
from focusgym.runs.evaluation.system_runs import find_system_run

STEPS = 3
SHORT = {
    "frameexit_gates": (),
    "scsampler": ("--learner={hidden: 5, epochs: 1}",),
    "frameexit": (
        "--decisions=6",
        "--learner={n_envs: 2, n_steps: 3, batch_size: 3, n_epochs: 1}",
    ),
}


def make_cubes(root: Path) -> None:
    cube_recognizers.make_recognizer().save(root / "bundle")


def make_afnet(root: Path) -> None:
    frames = FrameConfig(4, 32, 36)
    AFNetRecognizer(make_network(), frames=frames, classes="abcde").save(root / "bundle")


def make_exits(root: Path) -> None:
    """Write a recognizer with cubes, and what it predicts of its validation videos."""
    make_cubes(root)
    recognizer = read_recognizer(root / "bundle")
    frames, n = cube_recognizers.FRAMES, len(cube_recognizers.FRAMES)
    with torch.no_grad():
        recognition = recognizer(frames)
    columns = {
        "logits": recognition.logits,
        "gmacs": recognition.gmacs,
        "labels": torch.arange(n) % 4,
    }
    save_file(columns, root / "bundle" / "validation.safetensors")


def read_exits(root: Path) -> Any:
    recognizer = read_recognizer(root / "bundle", fuse=False)
    dearest = recognizer.full_frames_gmacs()
    return digest(exits_within(root / "bundle", recognizer, dearest))


@cached
def systems_in(folder: Path) -> Path:
    """Train three systems for a moment; returns a folder of the runs, their cache and f_C."""
    root = folder / "systems"
    root.mkdir()
    torch.manual_seed(0)
    glance = Encoder(EncoderConfig("small_glance", input_px=12)).eval()
    encoders = {"glance": glance, "local": Encoder(EncoderConfig("small_local")).eval()}
    config = CacheConfig(FrameConfig(STEPS, 64), (small_group(WholeFrame(64, 32)),))
    digits = DigitsConfig(n_train=3, n_val=1, n_test=1, n_frames=4)
    digit_cache(root, digits, encoders, config)
    for name, short in SHORT.items():
        kind, f_c = find_system(name).classifier, root / f"f_c_{name}"
        how: dict[str, Any] = {"aggregation": kind.aggregation, "reuse_glance": kind.reuse_glance}
        write_classifier(FeatureCache.open(root / "cache"), f_c, steps=STEPS, **how)
        files = (f"--cache={root / 'cache'}", f"--classifier={f_c}")
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            main(["train", str(root / name), f"--system={name}", *files, *short])
    return root


def make_runs(root: Path) -> None:
    shutil.copytree(systems_in(root.parent), root, dirs_exist_ok=True)


def play(*names: str) -> Callable[[Path], Any]:
    """Return what plays runs as ``focusgym evaluate`` does."""

    def read(root: Path) -> Any:
        runs = [find_system_run(root / name) for name in names]
        return digest(*(run.rows("test", pixels=False) for run in runs))

    return read


def make_folders(root: Path) -> None:
    for name in ("frameexit_gates", "frameexit"):
        find_system_run(systems_in(root.parent) / name).recognizer().save(root / name)


def read_folders(root: Path) -> Any:
    """Read recognizers of systems, after giving them digests that are right."""
    parts = []
    for folder in sorted(root.iterdir()):
        _put_digests(folder)
        recognizer = read_system_recognizer(folder)
        parts.append((recognizer.classes, recognizer.frames))
        parts.append(digest(*recognizer.classifier.state_dict().values()))
    return digest(parts)


def _put_digests(folder: Path) -> None:
    files = {each.relative_to(folder).as_posix(): each for each in folder.rglob("*.*")}
    try:
        content = json.loads(files.pop(NAME).read_bytes())
        if "files" in content:
            content["files"] = {name: file_digest(file) for name, file in files.items()}
        (folder / NAME).write_text(json.dumps(content))
    except (ValueError, TypeError, RecursionError):  # the file itself was changed
        pass


def compared(root: Path) -> CompareConfig:
    """Return the options of a comparison of a system alone, which learns nothing."""
    args = [str(root / "out"), f"--cache={root / 'cache'}", "--seeds=1", "--reward"]
    args += ["--systems", "tsn"]
    return tyro.cli(CompareConfig, args=args, config=(tyro.conf.OmitArgPrefixes,))


def make_cells(root: Path) -> None:
    shutil.copytree(systems_in(root.parent) / "cache", root / "cache")
    config = compared(root)
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        jobs = system_jobs(config)
        run_systems(jobs, config, in_turn)
    times = {"videos": 1, "milliseconds": {"": 2.5}}
    for job in jobs:
        (job.config.out / TIMES).write_text(json.dumps(times))


def read_cells(root: Path) -> Any:
    """Open what is done, and summarise it, as ``focusgym compare`` does."""
    config = compared(root)
    jobs = system_jobs(config)
    run_systems(jobs, config, nothing_to_do)
    cells = system_cells(jobs, [])
    summary = summarise(cells, cells[0].label, resamples=10)
    return digest(table(summary).to_csv(), json.dumps(summary))


def in_turn(do: Callable[..., None], units: Mapping[str, Any], *_: object) -> dict[str, Any]:
    return {name: do(*unit.arguments) for name, unit in units.items()}


def nothing_to_do(do: object, units: Mapping[str, Any], *_: object) -> dict[str, Any]:
    assert not units, f"{[*units]} would be trained again"
    return {}


KINDS: dict[str, Kind] = {
    "cubes": Kind(("bundle/*",), make_cubes, read_recognizer_bundle),
    "afnet": Kind(("bundle/*",), make_afnet, read_recognizer_bundle),
    "exits": Kind(("bundle/validation.safetensors",), make_exits, read_exits),
    "kept": Kind(("*/trained/*",), make_runs, play("frameexit_gates", "scsampler")),
    "system": Kind(
        ("scsampler/*.yaml", "scsampler/*.json", "frameexit/*.yaml", "frameexit/*.json"),
        make_runs,
        play("scsampler", "frameexit"),
    ),
    "portable": Kind(("*/**/*.*",), make_folders, read_folders),
    "cell": Kind(
        tuple(f"out/cells/**/{file}" for file in ("recipe.json", "results.json", TIMES)),
        make_cells,
        read_cells,
    ),
}
