"""A few hundred seeded mutations of small files; ``make soak`` does thousands."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).with_name("mutations.py")


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are those of Linux")
def test_mutated_files_are_refused_or_read() -> None:
    ran = subprocess.run(
        [sys.executable, str(SCRIPT), "--n", "300", "--seed", "1", "--json"],
        capture_output=True,
        text=True,
    )
    assert ran.stdout, ran.stderr
    results = json.loads(ran.stdout)
    failed = [each for each in results if each["outcome"] not in _GOOD]
    assert not failed, failed
    counts = Counter(each["outcome"] for each in results)
    assert sum(counts.values()) == 300
    assert np.all([counts[outcome] > 0 for outcome in _GOOD]), counts


_GOOD = ("refused", "same meaning", "other content")
