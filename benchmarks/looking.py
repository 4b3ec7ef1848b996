"""Whether looking pays on clips of your own, over seeds: encoders, a cache, policies, a table.

``python benchmarks/looking.py CLIPS WEIGHTS outputs/looking`` takes a folder of clips with the
lists train.txt, val.txt and test.txt, and torchvision's weights of MobileNet-V2, which stay as they
are in both encoders. It builds a cache with patches of every size. Which size is used is chosen on
val, before any policy is trained: the one with which a linear rule on the glance is most accurate,
see ``focusgym cache headroom``. Then ``focusgym compare`` trains f_C and AdaFocus for every seed,
with ``-- --plus`` AdaFocus+ too, and printed is how the learned policy differs on test from random,
central, Gaussian patches and the best fixed box, which is chosen on val. With
``-- --variants no_glance`` the same is printed a second time for an f_C that does not read the
glance, as in Table 5 of the paper. Called again it goes on after what is complete. The sizes that
are usual here fit clips of 192 px.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

FOCUSGYM = "import sys; from focusgym.runs.cli import main; main(sys.argv[1:])"
DESIGN = "increment_over_random"
NO_GLANCE = "no_glance"


def main() -> None:
    """Run all steps, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("clips", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--frame", type=int, default=192, help="side S of the frames, pixels")
    parser.add_argument("--glance-px", type=int, default=64, help="what f_G reads, pixels")
    parser.add_argument("--patch", type=int, nargs="+", default=[48, 72], help="sides P, pixels")
    parser.add_argument("--grid", type=int, default=5, help="candidates per axis")
    parser.add_argument("--steps", type=int, default=4, help="T, frames of a clip")
    argv = sys.argv[1:]
    end = argv.index("--") if "--" in argv else len(argv)  # behind it: options of compare
    args = parser.parse_args(argv[:end])
    args.out.mkdir(parents=True, exist_ok=True)
    make_cache(args)
    chosen = max(args.patch, key=lambda side: headroom(args, side))
    print(f"patches of {chosen} px, chosen on val")
    blind = [f"{DESIGN} {NO_GLANCE}"] if NO_GLANCE in argv[end:] else []
    for reference in (*blind, DESIGN):
        focusgym(
            *("compare", args.out / "compare", "--preset", "clips_sharp", "--patch", chosen),
            *("--cache", args.out / "cache", "--seeds", args.seeds, "--reward", DESIGN),
            *("--reference", reference, "--no-plus", *argv[end + 1 :]),
        )
        print_rows(json.loads((args.out / "compare" / "results.json").read_text()))


def make_cache(args: argparse.Namespace) -> None:
    """Build the cache, unless it is there."""
    if (args.out / "cache").exists():
        return
    lists = [(f"--{split}", args.clips / f"{split}.txt") for split in ("train", "val", "test")]
    groups = [("--group", f"patches:mobilenet_v2:{side}:{args.grid}") for side in args.patch]
    focusgym(
        *("cache", "build", args.out / "cache", "--videos", args.clips, *sum(lists, ())),
        *("--frame", args.frame, "--resize", args.frame, "--steps", args.steps),
        *("--glance-px", args.glance_px, *sum(groups, ())),
        *("--weights", f"mobilenet_v2={args.weights}"),
    )


def headroom(args: argparse.Namespace, side: int) -> float:
    """Return how accurate a linear rule on the glance is on val, with patches of a side."""
    cache, f_c = args.out / "cache", args.out / f"f_c_{side}"
    group = ("--group", f"p{side}_{args.grid}x{args.grid}")
    if not f_c.exists():
        focusgym(
            *("fit", "classifier", f_c, "--preset", "clips_sharp", "--cache", cache, *group),
        )
    stdout = focusgym("cache", "headroom", cache, "--classifier", f_c, *group, "--json")
    rules = {each["name"]: each for each in json.loads(stdout)["rows"]}
    print(f"patches of {side} px, on val, mean over frames:")
    for name, each in rules.items():
        print(f"  {name:14} {100 * each['mean']:.1f} %")
    return float(rules["glance_rule"]["mean"])


def print_rows(summary: dict[str, Any]) -> None:
    """Print all rows, and by how much the reference is better than each."""
    print(
        f"{summary['reference']} less each row, in points: after one frame, after all, in the mean"
    )
    for row in summary["rows"]:
        steps = " ".join(f"{100 * value:5.1f}" for value in row["accuracy_by_step"]["value"])
        print(f"{row['label']:44} {steps}  {row['gmacs_per_video']:.4f} GMACs", end="")
        for name in ("first_accuracy", "final_accuracy", "mean_accuracy"):
            print(f"  {difference(row, name)}", end="")
        print()


def difference(row: dict[str, Any], name: str) -> str:
    """Return by how much the reference is better, with the wider of its intervals, in points."""
    entry = (row["difference"] or {}).get(name)
    if entry is None or row["verdict"] == "reference":
        return "–"
    bounds = [each for key in ("over_videos", "over_seeds_t") if (each := entry[key])]
    low, high = min(low for low, _ in bounds), max(high for _, high in bounds)
    return f"{-100 * entry['value']:+.1f} [{-100 * high:.1f}, {-100 * low:.1f}]"


def focusgym(*words: object) -> str:
    """Run a verb; return what it printed."""
    command = [sys.executable, "-c", FOCUSGYM, *map(str, words)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    main()
