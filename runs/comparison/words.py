"""A comparison in words: which designs are apart, and what the figures cannot say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .cells import Cell
from .statistics import COVERAGE, EQUAL_APART, deciding
from .table import ALL_GROUPS, number

LEARNED = ("trained", "plus")
_VERDICTS = {
    "higher": "higher",
    "lower": "lower",
    "not apart": "not apart",
    "unpaired": "cannot be compared",
}
_APART = ("higher", "lower", "not apart")


def conclusions(summary: dict[str, Any]) -> list[str]:
    """Return a sentence per group, and one over all: which designs are apart from the reference."""
    reference = summary["reference"]
    parts = [
        (group, [r for r in summary["rows"] if r["group"] == group]) for group in summary["groups"]
    ]
    if len(parts) > 1:
        parts.insert(0, (ALL_GROUPS, summary["overall"]))
    sentences = []
    for group, rows in parts:
        where = f"Mean of {len(summary['groups'])} groups" if group == ALL_GROUPS else group
        base = [row for row in rows if row["verdict"] == "reference"]
        if not base:
            without = "here" if group != ALL_GROUPS else f"in {_missing(summary, reference)}"
            sentences.append(f"{where}: {reference} has no run {without}, so nothing is compared.")
            continue
        score = number(base[0]["final_accuracy"]["value"])
        sentence = f"{where}: {reference} is right in {score} % after all frames."
        others = [row for row in rows if row["verdict"] != "reference"]
        sentence += _verdicts([row for row in others if row["kind"] in LEARNED])
        if fixed := _verdicts([row for row in others if row["kind"] == "fixed"]):
            sentence += f" Policies that do not learn.{fixed}"
        sentences.append(sentence)
    return sentences


def _verdicts(rows: Sequence[dict[str, Any]]) -> str:
    """Return a sentence for each verdict that rows have, each after a space."""
    text = ""
    for verdict, name in _VERDICTS.items():
        if designs := [_named(row) for row in rows if row["verdict"] == verdict]:
            unit = "" if verdict == "unpaired" else ", by points"
            text += f" {name.capitalize()}{unit}: {'; '.join(designs)}."
    return text


def _missing(summary: dict[str, Any], label: str) -> str:
    """Return the groups in which a design has no run."""
    groups_with_runs = {row["group"] for row in summary["rows"] if row["label"] == label}
    return ", ".join(group for group in summary["groups"] if group not in groups_with_runs)


def _named(row: dict[str, Any]) -> str:
    if row["difference"] is None:
        return str(row["label"])
    difference = row["difference"]["final_accuracy"]
    by = number(difference["value"], signed=True)
    bounds = deciding(difference)
    ends = "" if bounds is None else ", " + " to ".join(number(b, signed=True) for b in bounds)
    return f"{row['label']} ({by}{ends}{'' if difference['over_seeds_t'] else ', one seed'})"


def notes(summary: dict[str, Any]) -> list[str]:
    """Return what the intervals mean here, and what they cannot say."""
    rows = summary["rows"]
    learned = [row for row in rows if row["kind"] in LEARNED]
    level = f"{100 * summary['level']:.0f}"
    sentences = [
        f"Intervals are {level} %: seeds (in each group by itself), or videos, are drawn "
        f"{summary['resamples']} times with replacement. Differences are paired, by seed and by "
        "video, and have two intervals: over videos, and Student's t interval over seeds. Higher "
        "and lower: both lie on one side of zero; for one seed, that over videos alone. So the "
        "interval above is the union of both."
    ]
    several = [n for row in learned for n in (row["fewest_seeds"], len(row["seeds_compared"]))]
    several = [n for n in several if n > 1]
    if several and (fewest := min(several)) in COVERAGE:
        few = (
            f"Few seeds: an interval from drawing {fewest} seeds holds the true mean in about "
            f"{COVERAGE[fewest]} % of cases, not in {level} %. So the t interval decides, which is "
            "wider."
        )
        if fewest == 2:
            few += " Over two seeds it is so wide that hardly anything is higher or lower."
        sentences.append(few)
    single = [
        f"{row['label']} ({row['group']})"
        for row in learned
        if len(row["seeds"]) == 1 or len(row["seeds_compared"]) == 1
    ]
    if single:
        sentences.append(
            "One seed, so no interval over seeds: higher, lower and not apart are about these very "
            "runs on other videos, and say nothing about another training: "
            f"{', '.join(single)}."
        )
    return sentences + _pairing(summary) + _compared(rows)


def _pairing(summary: dict[str, Any]) -> list[str]:
    """Return what is compared in part only, or not at all."""
    sentences, reference = [], summary["reference"]
    for row in summary["rows"]:
        if row["seeds_left_out"]:
            sentences.append(
                f"{row['label']} ({row['group']}): the difference and what follows from it rest "
                f"on seeds {_listed(row['seeds_compared'])}, which {reference} has as well; "
                f"accuracies and chances also on {_listed(row['seeds_left_out'])}."
            )
    for label in summary["labels"]:
        if missing := _missing(summary, label):
            sentences.append(f"{label} has no run in {missing}: it has no row over all groups.")
        ours = [row for row in summary["rows"] if row["label"] == label]
        if reasons := [row["unpaired"] for row in ours if row["unpaired"]]:
            text = f"{label} is not paired"
            if paired := [row["group"] for row in ours if row["difference"]]:
                text = (
                    f"{label} is paired in {', '.join(paired)} alone: no difference over all groups"
                )
            sentences.append(f"{text}. {'; '.join(reasons)}.")
    return sentences


def _compared(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return how many comparisons there are, and how often equal designs would seem apart."""
    seeds = [len(row["seeds_compared"]) for row in rows if row["verdict"] in _APART]
    if not seeds:
        return []
    fewest = min(min(seeds), max(EQUAL_APART))
    shares = [f"{share:.0f}" for share in EQUAL_APART[fewest]]
    trained = "one seed" if fewest == 1 else f"{fewest} seeds"
    counted = (
        "One comparison"
        if len(seeds) == 1
        else f"{len(seeds)} comparisons, none corrected for their number"
    )
    return [
        f"{counted}. In a simulation of equal designs with {trained} and 1,000 videos, "
        f"{', '.join(shares[:-1])} and {shares[-1]} % of them seem higher or lower, if accuracies "
        "of seeds have a standard deviation of 0, 1 and 3 points."
    ]


def _listed(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds))


def tested_videos(cells: Sequence[Cell]) -> str:
    """Return how many test videos there are, and where they differ.

    Args:
        cells: One of each design and group.
    """
    counts: dict[str, dict[bytes, int]] = {}
    for cell in cells:
        names = cell.played.names
        counts.setdefault(cell.group, {})[names.tobytes()] = len(names)
    different = {names for of_group in counts.values() for names in of_group}
    if len(different) == 1:
        n = len(cells[0].played.names)
        return f"{n} test video{'s' if n > 1 else ''}"
    apart = any(len(of_group) > 1 for of_group in counts.values())
    between = "for other policies" if apart else "in other groups"
    listed = [f"{' or '.join(map(str, n.values()))} in {group}" for group, n in counts.items()]
    return f"other test videos {between}: {', '.join(listed)}"
