"""How long the command line takes: to say what it can do, and to compare all reward designs."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

import torch
from rows import row

from focusgym.agents import train_policy
from focusgym.envs import FeatureSource
from focusgym.feature_cache import FeatureCache
from focusgym.recognizer import read_classifier, torch_threads
from focusgym.runs.training.recipes import DIGITS

REPEATS = 9
FOCUSGYM = "import sys; from focusgym.runs.cli import main; main(sys.argv[1:])"


def rows(out: Path) -> dict[str, dict[str, float | str]]:
    """Time ``focusgym --help``, and ``focusgym compare`` from nothing on the first quickstart."""
    run, folder = out / "quickstart-0", out / "compare"
    helps = [_seconds("--help") for _ in range(REPEATS)]
    shutil.rmtree(folder, ignore_errors=True)
    cache = ("--cache", str(run / "cache"))
    compared = _seconds("compare", str(folder), "--preset", "digits", *cache)
    trainings = len(list(folder.glob("cells/*/*/*/results.json")))
    filled, trained = _table_and_training(run)
    return {
        "cli_help_seconds": row(helps, "s", "focusgym --help, a process each; limit 1 or less"),
        "compare_seconds": row(
            [compared],
            "s",
            "focusgym compare --preset digits, from nothing on a quickstart: 5 reward designs and "
            f"AdaFocus+, 2 patch sizes, 5 seeds, {trainings} trainings; the second patch size "
            f"encoded, f_C for both trained; {torch.get_num_threads()} processes; limit 1,800",
        ),
        "compare_table_share": row(
            [100 * filled / trained],
            "%",
            "projecting the features of all training videos for f_C, as a share of one stage II on "
            "digits: what agents save that are trained in a process that has done it; one thread",
        ),
    }


def _seconds(*args: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", FOCUSGYM, *args], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def _table_and_training(run: Path) -> tuple[float, float]:
    """Return the seconds that filling the table of projected inputs takes, and a training."""
    cache = FeatureCache.open(run / "cache")
    source = FeatureSource(cache, read_classifier(run / "classifier", cache.fingerprint))
    with torch_threads(1):
        start = time.perf_counter()
        source.prepare(cache.split("train"))
        filled = time.perf_counter()
        train_policy(run / "cache", run / "classifier", DIGITS.ppo, seed=0)
        return filled - start, time.perf_counter() - filled
