"""Disks that are full, or read-only: every verb says so in a sentence, and what was done stays.

The disks are real: small ones in memory, which only root may mount.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext, redirect_stdout, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from comparisons import HOW
from disks import PAGE, Disk
from recognizers import make_recognizer
from released_files import all_weights_loaded, checkpoint_after_stage_two, encoder_entries
from support import Literal
from verbs import Digits, make_policy

from focusgym.agents import read_policy
from focusgym.feature_cache import DigitsConfig, FeatureCache
from focusgym.recognizer import ClassifierConfig, GruClassifier, write_bundle
from focusgym.runs.cli import main
from focusgym.runs.executors.local import in_turn
from focusgym.runs.training.recipes import Recipe

SMALL = ("--n-envs=6", "--minibatch=3", "--conv-channels=2", "--hidden=6", "--epochs=2")
NETWORKS = (
    *("--glance=small_glance", "--weights=small_glance=random", "--glance-px=12"),
    *("--group=patches:small_local:28:3", "--weights=small_local=random"),
)
FEW = ("--n-train=12", "--n-val=2", "--n-test=2")
STAGE = ("--epochs=1", "--batch-size=6")
F_C = ("--hidden=7", "--dropout=0")
GOES_ON = "the same command goes on after what is complete"
AT_ONCE = "nothing that was not finished is kept"
RESUMES = "`focusgym train OUT --resume` goes on with it"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with Disk.mounted(tmp_path / "disk") as disk:
        yield disk


@pytest.fixture(autouse=True)
def serially(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cells of comparisons are trained in this process, and hooks of the command are undone."""
    monkeypatch.setattr(
        "focusgym.runs.verbs.compare.executor_of", lambda *_, **__: nullcontext(in_turn)
    )
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)


Command = Callable[..., tuple[int, str]]


@pytest.fixture
def focusgym(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run the command as a terminal does: its exit status, and what it says.

    Bars are left out, and that such short trainings may have learned nothing.
    """

    def run(*args: object) -> tuple[int, str]:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["focusgym", *map(str, args)])
        try:
            main()
            status = 0
        except SystemExit as ended:
            status = int(ended.code or 0)
        stderr = capsys.readouterr().err
        lines = [line for line in stderr.splitlines() if line.strip()]
        return status, "\n".join(
            line
            for line in lines
            if not re.search(r"/s[],]|\ds/\w+[],]|may have learned nothing", line)
        )

    return run


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, digits: Digits) -> Path:
    """What verbs read: a cache of random features with f_C and a policy; one of videos."""
    root = tmp_path_factory.mktemp("read")
    Literal(root / "random")
    main(["train", str(root / "random" / "pi"), *_files(root), *SMALL])
    content = (*digits.options, *NETWORKS)
    for i in (1, 2):
        main(["cache", "build", str(root / f"part{i}"), *content, f"--shard={i}/2"])
    parts = [str(root / f"part{i}") for i in (1, 2)]
    main(["cache", "merge", *parts, "--out", str(root / "cache")])
    cache = FeatureCache.open(root / "cache")
    torch.manual_seed(0)
    f_c = GruClassifier(ClassifierConfig(cache.map_shape[2], cache.local_channels, 2, hidden=7))
    write_bundle(root / "classifier", "classifier", f_c.config, f_c, cache.fingerprint)
    make_policy(root / "policy", None, cache.glance_maps(np.arange(cache.n_videos)))
    policy = read_policy(root / "policy")
    write_bundle(root / "policy", "policy", policy.config, policy, cache.fingerprint)
    make_recognizer().save(root / "recognizer")
    (root / "clip.mp4").symlink_to(digits.clips[0].path)
    return root


def _files(root: Path) -> tuple[str, ...]:
    return f"--cache={root}/random/cache", f"--classifier={root}/random/classifier"


def commands(root: Path, digits: Digits, encoders: Path, out: Path) -> dict[str, list[object]]:
    """Return commands that write into a folder, by verb."""
    networks = ("--glance-encoder", encoders / "glance", "--local-encoder", encoders / "local")
    content = (*digits.options, *NETWORKS)
    patches = ("--patch=28", "--grid=3", "--lr-local=0.01", "--lr-classifier=0.01", *STAGE, *F_C)
    encoder = ("--network=small_glance", "--weights=random", "--lr-encoder=0.01", *STAGE)
    cache = ("--cache", root / "random" / "cache")
    looks = ("--cache", root / "cache", "--classifier", root / "classifier", "--split=val")
    return {
        "data digits": ["data", "digits", out, *FEW],
        "cache build": ["cache", "build", out, *content],
        "cache merge": ["cache", "merge", root / "part1", root / "part2", "--out", out],
        "fit encoder": ["fit", "encoder", out, *digits.options, *encoder],
        "fit patches": ["fit", "patches", out, *digits.options, *networks, *patches],
        "fit classifier": ["fit", "classifier", out, *cache, *STAGE, *F_C],
        "train": ["train", out, *_files(root), *SMALL],
        "compare": ["compare", out, *cache, *HOW, "--seeds=1", "--reward=increments"],
        "replay": ["replay", out, "--policy", root / "policy", *looks, "--videos", 4],
    }


# What is said of a full disk, and what there may be of the result: nothing, or a run that goes on.
FULL: dict[str, tuple[str, bool]] = {
    "data digits": (AT_ONCE, False),
    "cache build": ("", False),
    "cache merge": ("", False),
    "fit encoder": (GOES_ON, False),
    "fit patches": (GOES_ON, False),
    "fit classifier": (GOES_ON, False),
    "train": (RESUMES, True),
    "compare": (GOES_ON, True),
    "replay": (AT_ONCE, False),
}

SLOW = ("fit encoder", "fit patches", "compare")


def content_of(out: Path) -> dict[str, bytes]:
    """Return the files of a result, but for those that tell when and how it was made."""
    often = ("config.yaml", "run.json", ".lock")
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in out.rglob("*")
        if path.is_file() and path.name not in often and "logs" not in path.parts
    }


@pytest.mark.parametrize("verb", FULL)
def test_a_full_disk(
    verb: str, disk: Disk, root: Path, digits: Digits, encoders: Path, focusgym: Command
) -> None:
    """Full at the end, or halfway; with room the command goes on, to the same result."""
    out = disk.place / "out"
    command = commands(root, digits, encoders, out)[verb]
    again, is_run = FULL[verb]
    assert focusgym(*command) == (0, "")
    needed, wanted = disk.used(), content_of(out)
    for pages in (needed - 1, *([] if verb in SLOW else [needed // 2])):
        disk.has_pages(pages)
        with pytest.MonkeyPatch.context() as patch:
            if pages == needed - 1:  # as if others took the room after it was looked for
                patch.setattr(
                    "focusgym.feature_cache.building.writer.free_bytes", lambda root: 2**40
                )
            status, message = focusgym(*command)
        assert status == 2
        if verb.startswith("cache"):
            plans = (
                rf"{out} needs \S+ GB, and the disk has \S+ GB free: free some, build on another"
            )
            meets = rf"the disk of {out}\.partial is full: 24 of 24 rows are kept; free some space "
            rest = {
                plans: r" disk, or store less \(views, patch sizes, frames\)",
                meets: "and run the same command, which goes on from there",
            }
            first = meets if pages == needed - 1 else plans
            assert re.fullmatch(f"focusgym: {first}{rest[first]}", message)
        else:
            assert message == (
                f"focusgym: {out}: the disk is full (No space left on device): free some space, or "
                f"give another folder; {again.replace('OUT', str(out))}"
            )
        assert out.exists() == is_run
        assert not (out / "results.json").exists()
        if again == AT_ONCE:
            assert not list(disk.place.iterdir())
        disk.grows()
        goes_on = [*command[:2], "--resume"] if again == RESUMES else command
        assert focusgym(*goes_on) == (0, "")
        assert not [path for path in disk.place.rglob("*") if ".partial" in path.name]
        content = content_of(out)
        assert content.keys() == wanted.keys()
        if verb != "compare":  # its page tells its own command
            differ = [name for name in wanted if content[name] != wanted[name]]
            assert all(name.endswith(("run.json", "checkpoint.safetensors")) for name in differ)


def test_a_full_disk_where_a_cache_would_be(
    disk: Disk, digits: Digits, focusgym: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    """``cache plan`` says it before, and ``cache build`` begins nothing."""
    disk.has_pages(3)
    content = (disk.place / "out", *digits.options, *NETWORKS)
    with pytest.raises(SystemExit) as caught:
        main(["cache", "plan", *map(str, content)])
    assert caught.value.code == 1
    assert "GB, and the disk has 1.23e-05 GB free" in capsys.readouterr().out
    status, message = focusgym("cache", "build", *content)
    assert status == 2
    assert message.startswith(f"focusgym: {disk.place}/out needs ")
    assert message.endswith(
        "free some, build on another disk, or store less (views, patch sizes, frames)"
    )
    assert not list(disk.place.iterdir())


def test_import_checkpoint(disk: Disk, tmp_path: Path, focusgym: Command) -> None:
    with torch.device("meta"):
        entries = encoder_entries()
    zeros = {
        name: {key: torch.zeros(each.shape, dtype=each.dtype) for key, each in entry.items()}
        for name, entry in entries.items()
    }
    checkpoint = checkpoint_after_stage_two(zeros, hidden=8, classes=2)
    torch.save(checkpoint, tmp_path / "released.pth.tar")
    command = ("import-checkpoint", tmp_path / "released.pth.tar", disk.place / "out")
    disk.has_pages(100)
    with all_weights_loaded():
        full = focusgym(*command, "--patch=96")
    assert full == (
        2,
        f"focusgym: {disk.place}/out: the disk is full (No space left on device): free some space, "
        f"or give another folder; {AT_ONCE}",
    )
    assert not list(disk.place.iterdir())
    disk.change("ro")
    with all_weights_loaded():
        read_only = focusgym(*command, "--patch=96")
    assert read_only == (2, f"focusgym: {_read_only(disk.place / 'out')}")


def test_quickstart(
    disk: Disk, tiny: Recipe, focusgym: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was complete stays, and is not done again."""
    few = replace(tiny, digits=DigitsConfig(n_train=8, n_val=8, n_test=4))
    stage = replace(few.stage_one, epochs=1) if few.stage_one else None
    monkeypatch.setattr("focusgym.runs.verbs.quickstart.DIGITS", replace(few, stage_one=stage))
    command = ("quickstart", "--out", out := disk.place / "out")
    full = (
        f"focusgym: {out}: the disk is full (No space left on device): free some space, or give "
        f"another folder; {GOES_ON}"
    )
    new = disk.place / "new"
    disk.change("ro")
    assert focusgym("quickstart", "--out", new) == (2, f"focusgym: {_read_only(new)}")
    disk.change("rw,nr_blocks=1")
    assert focusgym(*command) == (2, full)
    disk.change("ro")
    assert focusgym(*command) == (2, f"focusgym: {_read_only(out)}")
    disk.change("rw")
    assert not list(disk.place.iterdir()), "nothing was begun"
    made = []
    for pages, complete in ((20, set()), (250, {"data"}), (300, {"data"})):
        disk.change(f"nr_blocks={pages}")
        assert focusgym(*command) == (2, full)
        steps = {path.name for path in out.iterdir() if path.is_dir() and path.suffix == ""}
        assert steps == complete
        made += [(out / step / "step.json").stat().st_mtime_ns for step in complete]
    assert json.loads((out / "run.json").read_text())["verb"] == "quickstart"
    assert len(made) == 2
    assert made[0] == made[1]


def _read_only(out: Path) -> str:
    return f"{out} cannot be written (Read-only file system): give another folder"


@pytest.mark.parametrize("verb", FULL)
def test_a_read_only_disk(
    verb: str, disk: Disk, root: Path, digits: Digits, encoders: Path, focusgym: Command
) -> None:
    disk.change("ro")
    out = disk.place / "out"
    message = _read_only(out)
    if verb.startswith("cache"):
        message = (
            f"nothing can be written in {disk.place} (Read-only file system): give another folder"
        )
    assert focusgym(*commands(root, digits, encoders, out)[verb]) == (2, f"focusgym: {message}")


def test_a_plan_tells_of_a_read_only_disk(
    disk: Disk, root: Path, digits: Digits, encoders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    disk.change("ro")
    out = disk.place / "new" / "out"
    content = commands(root, digits, encoders, out)["cache build"][3:]
    with pytest.raises(SystemExit) as end:
        main(["cache", "plan", str(out), *map(str, content), "--sample=1", "--json"])
    assert end.value.code == 1
    problem = f"{disk.place} cannot be written to: give another folder than {out}"
    assert problem in json.loads(capsys.readouterr().out)["problems"]


def test_what_is_read_may_be_read_only(disk: Disk, root: Path, focusgym: Command) -> None:
    """A finished run, a cache, a recognizer: verbs that write nothing need no room."""
    shutil.copytree(root, disk.place, dirs_exist_ok=True, symlinks=True)
    disk.change("ro")
    pi = disk.place / "random" / "pi"
    for command in (
        ("cache", "info", disk.place / "cache"),
        ("cache", "verify", disk.place / "cache", "--sample=1"),
        ("train", pi, "--resume"),
        ("evaluate", pi, "--cache", disk.place / "random" / "cache"),
        ("recognize", disk.place / "clip.mp4", "--bundle", disk.place / "recognizer"),
    ):
        assert focusgym(*command) == (0, ""), command


@pytest.mark.parametrize("options", ["nr_blocks=1", "ro"])
def test_recognize(options: str, disk: Disk, root: Path, focusgym: Command) -> None:
    disk.change(options)
    status, message = focusgym(
        *("recognize", root / "clip.mp4", "--bundle", root / "recognizer"),
        *("--annotate", disk.place / "out"),
    )
    assert status == 2
    assert message.startswith(f"focusgym: {disk.place}/out")
    assert ("No space left on device" if "nr" in options else "Read-only file system") in message
    assert message.endswith("give another --annotate")
    assert "\n" not in message
    assert not list(disk.place.iterdir())


def test_what_is_printed_on_a_full_disk(disk: Disk, root: Path, focusgym: Command) -> None:
    """Of verbs that only print, and of one that is done."""
    disk.has_pages(1)
    (disk.place / "ballast").write_bytes(b"x" * PAGE)
    pi, cache = root / "random" / "pi", root / "cache"
    for command, kept in (
        (("evaluate", pi), AT_ONCE),
        (("evaluate", pi, "--json"), AT_ONCE),
        (("cache", "info", cache), AT_ONCE),
        (("cache", "verify", cache, "--sample=0"), AT_ONCE),
        (("recognize", root / "clip.mp4", "--bundle", root / "recognizer"), AT_ONCE),
        (("train", pi, "--resume"), RESUMES.replace("OUT", str(pi))),
    ):
        with suppress(OSError), (disk.place / "printed").open("w") as file, redirect_stdout(file):
            outcome = focusgym(*command)
        assert outcome == (
            2,
            "focusgym: what is printed: the disk is full (No space left on device): free some "
            f"space, or send it elsewhere; {kept}",
        ), command
    with suppress(OSError), (disk.place / "printed").open("w") as file, redirect_stdout(file):
        status, message = focusgym("train", "--help")
    assert (status, message[:27]) == (2, "focusgym: what is printed: ")


def test_no_traceback_after_the_end(disk: Disk, root: Path) -> None:
    """Threads of TensorBoard and objects that are deleted at the end meet the disk as well."""
    out = disk.place / "out"
    disk.has_pages(3)  # for two files of settings, and a rollout
    code = "from focusgym.runs.cli import main; main()"
    command = [sys.executable, "-c", code, "train", out, *_files(root), *SMALL]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 2
    assert "Traceback" not in ran.stderr
    assert ran.stdout == ""
    *bars, message = ran.stderr.splitlines()
    assert message.startswith(f"focusgym: {out}: the disk is full (No space left on device): free")
    assert all("rollout" in bar for bar in bars if bar)
