"""AFNet on digits that few frames show, and on pairs of digits whose order matters, over seeds.

``python benchmarks/afnet.py FOLDER --seeds 3`` runs, for each seed in ``FOLDER/sSEED``, commands of
docs/afnet.md: a network without skipping on ordinary digits, whose weights the others begin with;
on digits that are visible in three frames of ten, a run for each ratio RT, and at RT = 0.5 one for
each row of the supplement's Tables 4 and 6, and one for a budget of compute; on pairs of digits,
with temporal shift, a run for each ratio. Then it prints what all came to on the test videos, with
95 % intervals over videos and over seeds. Called again it goes on after what is complete.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from seeds import in_percent

from focusgym.runs.evaluation.opened_runs import find_pixel_run

RATIOS = (1.0, 0.75, 0.5, 0.25)
# Of Tables 4 and 6, and a budget, at RT = 0.5: what differs from the run "few_0.5".
ABLATIONS = {
    "addition": ("--fusion", "addition"),
    "cosine": ("--temperature", "cosine"),
    "linear": ("--temperature", "linear"),
    "soft": ("--selection", "soft", "--ratio", "1"),
    # As much compute as at RT = 0.5, GMACs; the blocks may keep different shares.
    "budget": ("--gmacs", "0.032"),
}
FIT = ("fit", "afnet")
PRESET = ("--preset", "afnet_digits")


class Measurement(NamedTuple):
    """What became of a run in the test videos.

    Attributes:
        correct: ``(B,)``, whether each was right.
        kept: Share of frames that blocks kept, on average.
        gmacs: Of a video, on average.
    """

    correct: NDArray[np.float64]
    kept: float
    gmacs: float


def commands(root: Path, seed: int) -> list[tuple[str, list[str]]]:
    """Return the commands of a seed, each with what it makes."""
    of_seed = ["--seed", f"{seed}"]
    few = ["--n-train", "1200", *of_seed]
    named_commands = [
        ("digits", ["data", "digits", f"{root}/digits", *of_seed]),
        ("few", ["data", "digits", f"{root}/few", "--visible-share", "0.3", *few]),
        ("pairs", ["data", "digit-pairs", f"{root}/pairs", *few]),
    ]
    videos = ["--videos", f"{root}/digits", "--ratio", "1", *of_seed]
    named_commands.append(("base", [*FIT, f"{root}/base", *PRESET, *videos]))
    tuned = [*PRESET, "--epochs", "8", "--lr-afnet", "0.008", "--lr-gates", "0.04", *of_seed]
    for ratio in RATIOS:
        name = f"few_{ratio:g}"
        more = ["--videos", f"{root}/few", "--weights", f"{root}/base", "--ratio", f"{ratio}"]
        named_commands.append((name, [*FIT, f"{root}/{name}", *tuned, *more]))
    for name, words in ABLATIONS.items():
        more = ["--videos", f"{root}/few", "--weights", f"{root}/base", *words]
        named_commands.append((f"few_{name}", [*FIT, f"{root}/few_{name}", *tuned, *more]))
    for ratio in RATIOS:
        name = f"pairs_{ratio:g}"
        more = ["--videos", f"{root}/pairs", "--weights", f"{root}/base", "--ratio", f"{ratio}"]
        shift = ["--shift", "offline", "--epochs", "10"]
        named_commands.append((name, [*FIT, f"{root}/{name}", *tuned, *more, *shift]))
    return named_commands


def measured(run: Path) -> dict[str, Measurement]:
    """Return what became of a run, by itself and with other masks in its network."""
    opened = find_pixel_run(run)
    kinds = (None, *opened.beside)
    measurements = {}
    for kind, outcome in zip(kinds, opened.play("test", kinds), strict=True):
        played = outcome.played
        correct, gmacs = played.correct[:, -1].astype(np.float64), played.gmacs_by_step[-1]
        name = run.name if kind is None else f"{run.name}, {kind}"
        measurements[name] = Measurement(correct, played.kept_share, float(gmacs))
    return measurements


def main() -> None:
    """Run what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    seeds: list[dict[str, Measurement]] = []
    for seed in range(args.seeds):
        root = args.folder / f"s{seed}"
        root.mkdir(parents=True, exist_ok=True)
        of_seed: dict[str, Measurement] = {}
        for name, words in commands(root, seed):
            if (
                not (root / name / "bundle.json").exists()
                and not (root / name / "videos.csv").exists()
            ):
                print(f"seed {seed}: {name}", file=sys.stderr)
                subprocess.run(["focusgym", *words], check=True)
            if words[0] == "fit" and name != "base":
                of_seed |= measured(root / name)
        seeds.append(of_seed)
    for name in seeds[0]:
        each = [of_seed[name] for of_seed in seeds]
        kept = [100 * measurement.kept for measurement in each]
        print(
            f"{name:20} {in_percent([measurement.correct for measurement in each])}; "
            f"kept {np.mean(kept):.1f} % ({min(kept):.1f} to {max(kept):.1f}); "
            f"{1e3 * np.mean([measurement.gmacs for measurement in each]):.1f} MMACs"
        )
    differences = [(f"few_{name}", "few_0.5") for name in ABLATIONS]
    for of_set in ("few", "pairs"):
        differences += [(f"{of_set}_{ratio:g}", f"{of_set}_1") for ratio in RATIOS[1:]]
        differences += [(f"{of_set}_{r:g}", f"{of_set}_{r:g}, random") for r in RATIOS[1:]]
    for one, other in differences:
        difference = [of_seed[one].correct - of_seed[other].correct for of_seed in seeds]
        print(f"{one} less {other:20} {in_percent(difference)}")


if __name__ == "__main__":
    main()
