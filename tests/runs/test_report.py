"""What a run prints."""

from __future__ import annotations

import io

import numpy as np
from rich.console import Console

from focusgym.runs.report import print_table, results_table


def test_a_narrow_console_cuts_no_figure_off() -> None:
    accuracies = np.linspace(0.1234, 1, 8).tolist()
    names = ["random", "adafocus_finetuned"]
    policies = [
        {
            "name": name,
            "accuracy": 1.0,
            "accuracy_interval": [0.9, 1.0],
            "accuracy_by_step": accuracies,
            "kept_share": 1.0,
            "gmacs_per_video": 0.012345678,
        }
        for name in names
    ]
    parity = {"prediction_agreement": 1.0, "max_abs_confidence_difference": 1e-7}
    results = {"steps": 8, "n_videos": 37, "policies": policies, "parity": parity}
    console = Console(file=io.StringIO(), width=60)
    print_table(results, results_table(results), console)
    assert isinstance(console.file, io.StringIO)
    printed = console.file.getvalue()
    mean = f"{100 * np.mean(accuracies):.1f}"
    shown = [f"{100 * accuracy:.1f}" for accuracy in accuracies]
    for name in names:
        (line,) = (
            line
            for line in printed.splitlines()
            if line.split()[1:] and mean in line.split() and line.startswith(name)
        )
        assert line.split() == [name, *shown, mean, "100", "0.01235"]
    assert "±5.0 points" in printed
