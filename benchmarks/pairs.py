"""AdaFocus-TSM on pairs of digits, in which the order of frames matters, over seeds.

``python benchmarks/pairs.py FOLDER --seeds 3`` runs, for each seed in ``FOLDER/sSEED``, the
commands of docs/adafocus-tsm.md: videos, TSN, TSM, f_G, stage I, a cache of patches and of whole
frames, f_C, and a run of each system; then it prints what all came to, with 95 % intervals over
videos and over the seeds of the videos. Called again it goes on after what is complete.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from seeds import in_percent

from focusgym.runs.evaluation.trace import read_played

POLICIES = (
    *("adafocus_tsm", "adafocus_tsm_ppo", "adafocus_tsm_gaussian"),
    *("clip_random", "clip_central", "clip_fixed"),
)
RUNS = ("tsn", "tsm", "plus", *POLICIES)  # the first three of whole frames
PRESET = ("--preset", "digit_pairs")


def commands(root: Path, seed: int) -> list[tuple[str, list[str]]]:
    """Return the commands of a seed, each with what it makes."""
    videos = [*PRESET, "--videos", f"{root}/data", "--seed", f"{seed}"]
    random, cache = ["--weights", "random"], ["--cache", f"{root}/cache"]
    glance = ["--network", "small_residual_glance_tsm", *random, "--input-px", "8"]
    groups = [f"patches:{root}/patches/local:28", f"full:{root}/tsm:48", f"full:{root}/tsn:48"]
    named_commands = [
        ("data", ["data", "digit-pairs", f"{root}/data", "--seed", f"{seed}"]),
        ("glance", ["fit", "encoder", f"{root}/glance", *videos, *glance]),
        ("tsm", ["fit", "encoder", f"{root}/tsm", *videos, "--network", "small_residual_tsm"]),
        ("patches", ["fit", "patches", f"{root}/patches", *videos]),
        ("tsn", ["fit", "encoder", f"{root}/tsn", *videos, "--network", "small_residual"]),
        ("cache", ["cache", "build", f"{root}/cache", *PRESET, "--videos", f"{root}/data"]),
    ]
    more = {
        "tsm": random,
        "tsn": random,
        "patches": ["--glance-encoder", f"{root}/glance", "--local-encoder", f"{root}/tsm"],
        "cache": [
            *("--glance", f"{root}/glance"),
            *(word for group in groups for word in ("--group", group)),
        ],
    }
    named_commands = [(name, [*words, *more.get(name, [])]) for name, words in named_commands]
    for name, group, system, reuse in (
        ("tsm", "full48_tsm", "tsm", ["--no-reuse-glance"]),
        ("tsn", "full48_tsn", "tsm", ["--no-reuse-glance"]),
        ("plus", "full48_tsm", "tsm_plus", []),
    ):
        f_c, of = f"f_c_{name}", [*cache, "--group", group]
        named_commands.append((f_c, ["fit", "classifier", f"{root}/{f_c}", *PRESET, *of, *reuse]))
        run = ["train", f"{root}/run_{name}", "--system", system, *of]
        named_commands.append((f"run_{name}", [*run, "--classifier", f"{root}/{f_c}"]))
    of = [*cache, "--group", "p28_7x7"]
    named_commands.append(("f_c", ["fit", "classifier", f"{root}/f_c", *PRESET, *of]))
    for name in POLICIES:
        run = ["train", f"{root}/run_{name}", "--system", name, *of, "--seed", f"{seed}"]
        named_commands.append(
            (f"run_{name}", [*run, "--classifier", f"{root}/f_c", "--threads", "1"])
        )
    return named_commands


def measured(root: Path) -> dict[str, NDArray[np.float64]]:
    """Return what was right in each test video, ``(B,)``, by the run."""
    correct_by_run = {}
    for name in RUNS:
        correct = read_played(root / f"run_{name}" / "played.npz").correct
        correct_by_run[name] = correct[:, -1].astype(np.float64)
    return correct_by_run


def main() -> None:
    """Run what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    by_seed = []
    for seed in range(args.seeds):
        root = args.folder / f"s{seed}"
        root.mkdir(parents=True, exist_ok=True)
        for name, words in commands(root, seed):
            if not (root / name).exists():
                print(f"seed {seed}: {name}", file=sys.stderr)
                subprocess.run(["focusgym", *words], check=True)
        by_seed.append(measured(root))
    for name in RUNS:
        print(f"{name:24} {in_percent([each[name] for each in by_seed])}")
    for one, other in (
        ("tsm", "tsn"),
        *(("adafocus_tsm", name) for name in (*POLICIES[1:], "plus")),
    ):
        difference = [each[one] - each[other] for each in by_seed]
        print(f"{one} less {other:24} {in_percent(difference)}")
    for name in ("plus", "tsm", "adafocus_tsm"):
        results = json.loads((args.folder / "s0" / f"run_{name}" / "results.json").read_text())
        print(f"{name}: {1e3 * results['test']['gmacs_per_video']:.1f} MMACs a video")


if __name__ == "__main__":
    main()
