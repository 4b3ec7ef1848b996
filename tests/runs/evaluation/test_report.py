"""What a run prints."""

from __future__ import annotations

import io
import itertools
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from scipy.stats import binomtest

from focusgym.runs.configs.quickstart import QuickstartConfig
from focusgym.runs.evaluation.report import (
    accuracy_plot,
    next_commands,
    print_table,
    results_table,
    spread,
)


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
        assert line.split() == [name, *shown, mean, "100", "12.35"]
    assert "MMACs" in printed
    # Wilson's interval as a formula: of a table's accuracies, it is widest nearest to one half.
    z, n = 1.959963984540054, 37
    rights = [round(n * accuracy) for accuracy in (*accuracies, np.mean(accuracies))]
    p = min((right / n for right in rights), key=lambda share: abs(share - 0.5))
    half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    assert f"with 37 videos each accuracy above is known to ±{100 * half:.1f} points" in printed
    assert half > 0.05, "wider than after the last frame"


def test_lines_are_named_at_their_ends_and_have_intervals() -> None:
    """No name lies on another; bands and bars are Wilson's intervals, each of its own frame."""
    names = ["random", "central", "adafocus", "adafocus_plus", "oracle"]
    ends = [0.7, 0.9, 0.91, 0.905, 1.0]
    policies = [
        {"name": name, "accuracy_by_step": [0.5, end]}
        for name, end in zip(names, ends, strict=True)
    ]
    figure = accuracy_plot({"steps": 2, "n_videos": 200, "policies": policies})
    figure.draw_without_rendering()
    (axes,) = figure.axes
    assert axes.get_legend() is None
    labels = {text.get_text(): text for text in axes.texts}
    assert list(labels) == names
    boxes = sorted((text.get_window_extent() for text in labels.values()), key=lambda b: b.y0)
    assert all(below.y1 <= above.y0 + 1 for below, above in itertools.pairwise(boxes))
    assert all(box.x0 >= 0 and box.x1 <= figure.bbox.x1 for box in boxes)
    bands = axes.collections[::2]
    for band, end in zip(bands, ends, strict=True):
        drawn = band.get_paths()[0].vertices
        for frame, accuracy in ((1, 0.5), (2, end)):
            interval = binomtest(round(200 * accuracy), 200).proportion_ci(method="wilson")
            at_frame = drawn[drawn[:, 0] == frame][:, 1]
            assert (at_frame.min(), at_frame.max()) == pytest.approx(
                (100 * interval.low, 100 * interval.high)
            )


def test_labels_are_spread_no_more_than_they_must() -> None:
    assert spread([5.0, 1.0, 9.0], 2.0) == [5.0, 1.0, 9.0]
    assert spread([4.0, 4.0], 2.0) == pytest.approx([3.0, 5.0])
    rng = np.random.default_rng(0)
    for values in rng.uniform(0, 10, (20, 8)):
        places = np.array(spread(values.tolist(), 0.9))
        order = np.argsort(values)
        assert (np.diff(places[order]) >= 0.9 - 1e-9).all()


def test_what_to_do_next_fits_what_was_run() -> None:
    """The digits' preset for the digits; for own clips theirs, and no advice to begin with them."""
    digits = dict(next_commands(QuickstartConfig()))
    assert digits["train one yourself"] == ["train", "outputs/pi", "--preset", "digits"]
    assert digits["your own clips"][:2] == ["quickstart", "--videos"]
    own = QuickstartConfig(out=Path("my out"), videos=Path("v"), weights=Path("w"))
    commands = dict(next_commands(own))
    assert "your own clips" not in commands
    assert commands["train one yourself"][2:] == [
        *("--preset", "clips", "--cache", "my out/cache", "--classifier", "my out/classifier")
    ]
    assert commands["recognize another video"][-1] == "my out/recognizers/adafocus_plus"
    assert not any("digits" in word for words in commands.values() for word in words)
