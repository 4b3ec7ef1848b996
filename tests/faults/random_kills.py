"""Signals at random moments of the verbs, which then go on: nothing may be lost or be another.

``python tests/faults/random_kills.py --n 100`` prints a table of what happened, by verb and signal.
A verb runs in a process that is forked from this one, which imports everything; it gets a signal
when it has computed for a random share of the time that it takes undisturbed, some more while it
goes on, and in the end its files are compared with those of a run that was left alone.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ["TQDM_DISABLE"] = "1"

import numpy as np
import pandas  # noqa: F401
import plotly.io
import scipy.stats  # noqa: F401
import torch
import torch.utils.tensorboard
from cache_verb import SMALL
from comparisons import HOW
from kills import begin, in_a_child
from support import write_cache, write_classifier

from focusgym.feature_cache import DigitsConfig, make_digits
from focusgym.feature_cache.building import writer
from focusgym.runs.cli import main as focusgym
from focusgym.runs.comparison import grid
from focusgym.runs.training import policy_run
from focusgym.runs.training.recipes import DIGITS, adamw
from focusgym.runs.verbs import quickstart

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
SAME, OTHER, STUCK, FAILED = "same", "other content", "does not go on", "failed"
OUTCOMES = (SAME, OTHER, STUCK, FAILED)
MOST_KILLS = 3  # of one run
TINY = replace(
    DIGITS,
    processes=1,
    digits=DigitsConfig(n_train=12, n_val=6, n_test=6),
    full_frames=adamw(1, 6, encoder=5e-3),
    stage_one=adamw(1, 6, local=1e-2, classifier=1e-2),
    classifier=adamw(1, 6, classifier=1e-3),
    ppo=replace(DIGITS.ppo, epochs=1, n_envs=6, minibatch=6),
    ppo_plus=replace(DIGITS.ppo_plus, epochs=1, n_envs=6, minibatch=6),
    finetune=adamw(1, 6, classifier=5e-4),
)
TRAIN = ("--n-envs=6", "--minibatch=3", "--conv-channels=2", "--hidden=6", "--epochs=4")


class Verb(NamedTuple):
    """A verb that is disturbed.

    Attributes:
        run: Runs it, given the folder of what it reads, and the folder that it writes.
        same: Patterns of the files that have to be the same in the end.
    """

    run: Callable[[Path, Path], object]
    same: tuple[str, ...]


def build(files: Path, out: Path) -> None:
    writer.SYNC_S = 0.0  # the build is short: note every row
    focusgym(["cache", "build", str(out), "--videos", str(files / "digits"), *SMALL])


def fit(files: Path, out: Path) -> None:
    if out.exists() and not out.with_name("out.partial").exists():
        return  # it is complete, and is refused
    how = ("--epochs=6", "--batch-size=4", "--hidden=7", "--cache", str(files / "cache"))
    focusgym(["fit", "classifier", str(out), *how])


def train(files: Path, out: Path) -> None:
    policy_run.run_training.__defaults__ = (0.0,)  # a checkpoint before every rollout
    read = ("--cache", str(files / "cache"), "--classifier", str(files / "f_c"))
    resume = ("--resume",) if (out / "run.json").exists() else (*read, *TRAIN)
    focusgym(["train", str(out), *resume])


def compare(files: Path, out: Path) -> None:
    grid.run_training.__defaults__ = (0.0,)
    how = ("--reward", "increments", "--seeds=2", "--jobs=1", *HOW)
    focusgym(["compare", str(out), "--cache", str(files / "cache"), *how])


def whole_job(files: Path, out: Path) -> None:
    quickstart.DIGITS = TINY
    focusgym(["quickstart", "--out", str(out)])


VERBS = {
    "cache build": Verb(build, ("**/*",)),
    "fit": Verb(fit, ("*.json", "*.safetensors")),
    "train": Verb(train, ("results.json", "played.npz", "policy/*")),
    "compare": Verb(compare, ("results.json", "results.csv", "cells/**/played.npz", "**/policy/*")),
    "quickstart": Verb(
        whole_job,
        ("results.csv", "data/*.csv", "data/**/*.mp4", "cache/**/*", "*/*.safetensors"),
    ),
}
NOT_COMPARED = ("run.json", "step.json")  # they say when and by what command


def main() -> None:
    """Print the table, or JSON; the exit status is 1 if a run ended otherwise."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=100, help="how many signals, over all verbs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--verbs", nargs="+", default=[*VERBS], choices=[*VERBS])
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have let it be ignored
    plotly.io.to_html({}, full_html=False)  # what a first plot imports
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder) / "files"
        assert in_a_child(lambda: make_files(files)) == 0
        undisturbed = {name: alone(name, files, Path(folder)) for name in options.verbs}
        number = 0
        try:
            while len(results) < options.n:
                name = options.verbs[number % len(options.verbs)]
                rng = np.random.default_rng([options.seed, number])
                most = options.n - len(results)
                results += disturbed(name, files, Path(folder), undisturbed[name], rng, most)
                number += 1
                print(f"{name}: {len(results)} of {options.n}", file=sys.stderr)
        except KeyboardInterrupt:
            print(f"interrupted after {len(results)} of {options.n}", file=sys.stderr)
    print(json.dumps(results)) if options.json else print_table(results)
    raise SystemExit(any(result["outcome"] != SAME for result in results))


def make_files(files: Path) -> None:
    """Write the inputs of the verbs."""
    make_digits(DigitsConfig(n_train=12, n_val=4, n_test=4, n_frames=4), files / "digits")
    write_classifier(write_cache(files / "cache", n=20), files / "f_c")


class Alone(NamedTuple):
    """A run that was left alone: its files by name, and how long it computed, seconds."""

    files: dict[str, bytes]
    seconds: float


def alone(name: str, files: Path, folder: Path) -> Alone:
    """Run a verb without signals."""
    with place_in(folder) as out:
        child = begin(lambda: silently(name, files, out), folder / "said")
        seconds = wait(child, None, signal.SIGKILL)[1]
        assert out.is_dir(), (folder / "said.err").read_text()
        return Alone(contents(out, VERBS[name].same), seconds)


@contextmanager
def place_in(folder: Path) -> Iterator[Path]:
    """Give the folder that a verb writes, always the same: a manifest says where videos are."""
    place = folder / "place"
    place.mkdir()
    try:
        yield place / "out"
    finally:
        shutil.rmtree(place)


def disturbed(
    name: str, files: Path, folder: Path, undisturbed: Alone, rng: np.random.Generator, most: int
) -> list[dict[str, Any]]:
    """Run a verb with up to three signals, go on to the end, and compare; a result per signal."""
    with place_in(folder) as out:
        output = folder / "said"
        sent: list[dict[str, Any]] = []
        outcome = why = ""
        for _ in range(min(most, int(rng.integers(1, MOST_KILLS + 1)))):
            number = SIGNALS[int(rng.integers(len(SIGNALS)))]
            share = float(rng.uniform(0.02, 0.98))
            child = begin(lambda: silently(name, files, out), output)
            status, _ = wait(child, share * undisturbed.seconds, number)
            sent.append({"verb": name, "signal": number.name, "share": share, "status": status})
            if status not in (0, 130, -number):
                outcome, why = FAILED, output.with_suffix(".err").read_text()[-300:]
                break
            if status == 0:  # it was done before
                break
        if not outcome:
            status, _ = wait(
                begin(lambda: silently(name, files, out), output), None, signal.SIGKILL
            )
            if status:
                outcome, why = STUCK, output.with_suffix(".err").read_text()[-300:]
            else:
                file_contents = contents(out, VERBS[name].same)
                keys = file_contents.keys() | undisturbed.files.keys()
                other = sorted(k for k in keys if file_contents.get(k) != undisturbed.files.get(k))
                outcome, why = (OTHER if other else SAME), ", ".join(other[:5])
        left = {path.name for path in out.parent.iterdir()} - {"out"}
        if left and outcome == SAME:
            outcome, why = OTHER, f"left beside it: {', '.join(sorted(left))}"
        return [{**each, "outcome": outcome, "why": why} for each in sent]


def silently(name: str, files: Path, out: Path) -> None:
    """Run a verb; what it prints is kept only if it is an error."""
    with redirect_stdout(io.StringIO()):
        VERBS[name].run(files, out)


def wait(child: int, after_s: float | None, number: signal.Signals) -> tuple[int, float]:
    """Wait for a child, and send it a signal when it has computed for so long.

    Returns:
        Its exit status, negative for a signal, and how long it computed, seconds.
    """
    while True:
        ended, status, usage = os.wait4(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime
        if after_s is not None and cpu_s(child) >= after_s:
            os.kill(child, number)
            after_s = None
        time.sleep(0.002)


def cpu_s(process: int) -> float:
    """Return how long a process has computed, seconds."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def contents(out: Path, patterns: tuple[str, ...]) -> dict[str, bytes]:
    """Return the files of a run that are compared."""
    paths = {path for pattern in patterns for path in out.glob(pattern)}
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in sorted(paths)
        if path.is_file() and path.name not in NOT_COMPARED
    }


def print_table(results: list[dict[str, Any]]) -> None:
    """Print how often what happened, by verb and signal, and everything that was not the same."""
    counts = Counter((each["verb"], each["signal"], each["outcome"]) for each in results)
    verbs = [*dict.fromkeys(each["verb"] for each in results)]
    print(f"| verb | {' | '.join(each.name for each in SIGNALS)} | {' | '.join(OUTCOMES)} |")
    print("|---|" + "---:|" * (len(SIGNALS) + len(OUTCOMES)))
    for verb in [*verbs, "all"]:
        of = [key for key in counts if verb in (key[0], "all")]
        sent = [sum(counts[key] for key in of if key[1] == each.name) for each in SIGNALS]
        ends = [sum(counts[key] for key in of if key[2] == each) for each in OUTCOMES]
        print(f"| {verb} | {' | '.join(map(str, [*sent, *ends]))} |")
    for each in results:
        if each["outcome"] != SAME:
            print(json.dumps(each))


if __name__ == "__main__":
    main()
