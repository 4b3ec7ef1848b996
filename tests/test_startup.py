"""What is imported when: rooms are entered lazily, and a wrong option needs no torch."""

from __future__ import annotations

import json
import subprocess
import sys

# Of each statement, in one process: what neither it nor those before it may import.
LATER = {
    "import focusgym": {"numpy", "gymnasium", "torch"},
    "import focusgym.envs": {"torch", "pandas"},
    "from focusgym.envs import FocusEnv, FocusVectorEnv, FeatureSource, FocusEngine": {
        *("torchvision", "torch._dynamo", "sympy", "decord", "sklearn", "scipy", "matplotlib"),
        *("stable_baselines3", "tensorboard", "tyro", "rich", "plotly", "jinja2"),
    },
    "from focusgym.agents import CentralAgent, LearnedAgent, RandomAgent": {"stable_baselines3"},
    "from focusgym.feature_cache import build_cache, make_digits, make_encoder, read_frames": {
        *("torchvision", "torch._dynamo", "sklearn", "scipy", "matplotlib"),
    },
    # Stable-Baselines3 2.7 and 2.8 import matplotlib.
    "from focusgym.envs import make_sb3": {"torchvision", "torch._dynamo", "sklearn"},
    "import focusgym.runs.verbs.quickstart": {"torchvision", "torch._dynamo", "sklearn", "scipy"},
}


def test_nothing_is_imported_before_it_is_needed() -> None:
    code = f"""
import json, sys
modules = []
for statement in {list(LATER)!r}:
    exec(statement)
    modules.append(sorted(sys.modules))
print(json.dumps(modules))
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    for (statement, later), modules in zip(LATER.items(), json.loads(ran.stdout), strict=True):
        assert later.isdisjoint(modules), f"{statement} imports {later & set(modules)}"
    assert "torch" in modules
