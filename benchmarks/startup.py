"""What a process pays before it begins: for importing, and for being told that it is mistyped."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from rows import row

REPEATS = 9
ENVIRONMENTS = "from focusgym.envs import FocusEnv, FocusVectorEnv, FeatureSource, FocusEngine"
STATEMENTS = {
    "import_envs_over_torch": "import focusgym.envs",
    "import_env_classes_over_torch": ENVIRONMENTS,
    "import_sb3_face_over_torch": "from focusgym.envs import make_sb3",
}
REFUSED = {
    "cli_unknown_option_seconds": ("train", "--nonsense"),
    "cli_wrong_value_seconds": ("train", "outputs/x", "--epochs", "x"),
}
FOCUSGYM = "import sys; from focusgym.runs.cli import main; main(sys.argv[1:])"


def rows(out: Path) -> dict[str, dict[str, float | str]]:
    """Time imports in processes of their own, in turn with `import torch`, and refusals."""
    ratios: dict[str, list[float]] = {name: [] for name in STATEMENTS}
    refusals: dict[str, list[float]] = {name: [] for name in REFUSED}
    for _ in range(REPEATS):
        torch, _ = _seconds("import torch")
        for name, statement in STATEMENTS.items():
            ratios[name].append(_seconds(statement)[0] / torch)
        for name, args in REFUSED.items():
            refusals[name].append(_seconds(FOCUSGYM, *args)[1])
    import_rows = {
        name: row(
            values,
            "×",
            f"CPU seconds of `{STATEMENTS[name]}` in a process, over those of `import torch` just "
            "before; limit 1.3 or less, but for Stable-Baselines3's own imports",
        )
        for name, values in ratios.items()
    }
    return import_rows | {
        name: row(values, "s", f"`focusgym {' '.join(REFUSED[name])}`, refused; limit 1 or less")
        for name, values in refusals.items()
    }


def _seconds(code: str, *args: str) -> tuple[float, float]:
    """Return the CPU time and the wall time of a Python process."""
    before, start = os.times(), time.perf_counter()
    subprocess.run([sys.executable, "-c", code, *args], stderr=subprocess.DEVNULL)
    after, end = os.times(), time.perf_counter()
    user, system = (
        getattr(after, n) - getattr(before, n) for n in ("children_user", "children_system")
    )
    return user + system, end - start
