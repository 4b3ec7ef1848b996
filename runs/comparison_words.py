"""A comparison in words: which designs are apart, and what the figures cannot say."""

from __future__ import annotations

from typing import Any

from .comparison_table import ALL_GROUPS, number
from .statistics import COVERAGE

LEARNED = ("trained", "plus")
_VERDICTS = {
    "higher": "higher",
    "lower": "lower",
    "not apart": "not apart",
    "unpaired": "cannot be compared",
}


def conclusions(summary: dict[str, Any]) -> list[str]:
    """Return a sentence per group, and one over all: which designs are apart from the reference."""
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
            sentences.append(f"{where}: {summary['reference']} has no run here.")
            continue
        score = number(base[0]["final_accuracy"]["value"])
        sentence = f"{where}: {summary['reference']} is right in {score} % after all frames."
        others = [row for row in rows if row["verdict"] != "reference"]
        # What learned is what is compared; fixed policies and bounds stand in the table.
        others = [row for row in others if row["kind"] in LEARNED] or others
        for verdict, name in _VERDICTS.items():
            if found := [_named(row) for row in others if row["verdict"] == verdict]:
                unit = "" if verdict == "unpaired" else ", by points"
                sentence += f" {name.capitalize()}{unit}: {', '.join(found)}."
        sentences.append(sentence)
    return sentences


def _named(row: dict[str, Any]) -> str:
    if row["difference"] is None:
        return str(row["label"])
    by = number(row["difference"]["final_accuracy"]["value"], signed=True)
    return f"{row['label']} ({by})"


def notes(summary: dict[str, Any]) -> list[str]:
    """Return what the intervals mean here, and what they cannot say."""
    rows = summary["rows"]
    learned = [row for row in rows if row["kind"] in LEARNED]
    found = [
        f"Intervals are {100 * summary['level']:.0f} %: seeds (in each group by itself), or "
        f"videos, are drawn {summary['resamples']} times with replacement. Differences are "
        "paired, by seed and by video. Higher and lower: both intervals lie on one side of zero; "
        "for one seed, that over videos alone."
    ]
    several = [row["fewest_seeds"] for row in learned if row["fewest_seeds"] > 1]
    if several and (fewest := min(several)) in COVERAGE:
        found.append(
            f"Few seeds: an interval over {fewest} seeds holds the true mean in about "
            f"{COVERAGE[fewest]} % of cases, not in {100 * summary['level']:.0f} %."
        )
    if single := [f"{row['label']} ({row['group']})" for row in learned if len(row["seeds"]) == 1]:
        found.append(
            f"One seed, so no interval over seeds, and nothing about another training: "
            f"{', '.join(single)}."
        )
    for row in summary["overall"]:
        if missing := [group for group in summary["groups"] if group not in row["groups"]]:
            found.append(
                f"{row['label']} has no run in {', '.join(missing)}; over all groups it is "
                f"compared in {', '.join(row['groups'])} alone."
            )
        if row["unpaired"]:
            found.append(f"{row['label']} is not paired. {row['unpaired']}.")
    compared = sum(row["verdict"] in ("higher", "lower", "not apart") for row in rows)
    if compared > 1:
        found.append(
            f"{compared} comparisons, none corrected for their number: of twenty with nothing "
            "behind them, about one would seem apart; more with few seeds."
        )
    return found
