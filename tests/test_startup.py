"""What is imported when: rooms are entered lazily, and a wrong option needs no torch."""

from __future__ import annotations

import json
import subprocess
import sys

# Of each statement, in one process: what it must not import that those before it have not.
LATER = {
    "import focusgym": {"numpy", "gymnasium", "torch"},
    "import focusgym.envs": {"torch", "pandas"},
    "from focusgym.envs import AdaFocusEnv, AdaFocusVectorEnv, FeatureSource, FocusEngine": {
        *("torchvision", "av", "decord", "sklearn", "scipy", "matplotlib", "PIL", "sympy"),
        *("stable_baselines3", "tensorboard", "tyro", "rich", "plotly", "jinja2", "tqdm"),
    },
    "from focusgym.agents import CentralAgent, LearnedAgent, RandomAgent": {"stable_baselines3"},
    "from focusgym.feature_cache import DigitsConfig, read_frames": {"sklearn", "matplotlib"},
}


def test_nothing_is_imported_before_it_is_needed() -> None:
    code = f"""
import json, sys
found = []
for statement in {list(LATER)!r}:
    exec(statement)
    found.append(sorted({{name.partition(".")[0] for name in sys.modules}}))
print(json.dumps(found))
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    for (statement, later), found in zip(LATER.items(), json.loads(ran.stdout), strict=True):
        assert not later & set(found), statement
    assert "torch" in found
