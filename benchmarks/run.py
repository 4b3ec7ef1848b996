"""Measure everything: ``make bench`` writes ``outputs/benchmarks/results.json``.

A flat table: ``{name: {value, low, high, unit, how}}``. Each module here gives some of its rows.
``low`` and ``high`` are the smallest and the largest of the repetitions, ``value`` their median.
"""

from __future__ import annotations

import json
import platform
from pathlib import Path

import caches
import clips
import decoders
import decoding
import environment
import exits
import gates
import policies
import quickstart
import startup
import torch
import training
import verbs

import recognizer

OUT = Path("outputs/benchmarks")


def main() -> None:
    """Run all benchmarks in turn, and write the table after each."""
    OUT.mkdir(parents=True, exist_ok=True)
    processor = f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads"
    print(f"measured on {processor}, torch {torch.__version__}")
    table: dict[str, dict[str, float | str]] = {}
    parts = (
        *(quickstart, exits, environment, training, policies),
        *(decoding, decoders, caches, recognizer, clips, gates, startup, verbs),
    )
    for measure in (part.rows for part in parts):
        table.update(measure(OUT))
        (OUT / "results.json").write_text(json.dumps(table, indent=2))
    for name, row in table.items():
        spread = f"[{row['low']:.4g}, {row['high']:.4g}]"
        print(f"{name:36} {row['value']:>10.4g} {row['unit']:6} {spread}")


if __name__ == "__main__":
    main()
