"""The blocks of README and docs, and what executes them in the way of a reader."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import json
import os
import re
import shlex
import subprocess
import sys
import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from kills import begin, ends_of

from focusgym.runs.configs.cache import (
    CacheHeadroomConfig,
    CacheInfoConfig,
    CacheMergeConfig,
    CacheVerifyConfig,
)
from focusgym.runs.configs.data import DataDigitsConfig, DataPairsConfig
from focusgym.runs.configs.evaluate import EvaluateConfig
from focusgym.runs.configs.import_checkpoint import ImportConfig
from focusgym.runs.configs.quickstart import QuickstartConfig
from focusgym.runs.configs.recognize import RecognizeConfig
from focusgym.runs.configs.replay import ReplayConfig
from focusgym.runs.configs.tune import TuneConfig
from focusgym.runs.options.presets import VERBS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FOCUSGYM = "focusgym"
# The documented command trains 60 policies, which takes minutes even on small data: what is
# documented is tried with one seed, one patch size, and short trainings. See also `in_short`.
SHORTER = {
    "compare": shlex.split("--seeds 1 --patch 28 --epochs 1 --fit-epochs 1"),
    "data": shlex.split("--n-train 8 --n-val 4 --n-test 4"),
}
ENCODED = ["--patch", "20"]  # of the comparison that is documented in most detail, a size to encode
SMALL_FRAMES = shlex.split("--frame 128 --resize 144")  # of what is computed by MobileNet-V2
SHORT_TRAINING = ["--epochs", "1"]
SHORT_SYSTEMS = {
    "compare": shlex.split("--decisions 32 --fit-hidden 16"),
    "train": shlex.split("--decisions 32"),
}
# Of a system that is trained by gradient, whose epochs are among its own settings.
SHORT_GRADIENT = ["--learner", "{conv_channels: 4, hidden: 16, epochs: 1}"]
PAGES_BY = {page.stem: page for page in PAGES}
CONFIGS: dict[str, type[Any]] = {
    **VERBS,
    "quickstart": QuickstartConfig,
    "data digits": DataDigitsConfig,
    "data digit-pairs": DataPairsConfig,
    "cache verify": CacheVerifyConfig,
    "cache info": CacheInfoConfig,
    "cache merge": CacheMergeConfig,
    "cache headroom": CacheHeadroomConfig,
    "tune": TuneConfig,
    "evaluate": EvaluateConfig,
    "replay": ReplayConfig,
    "recognize": RecognizeConfig,
    "import-checkpoint": ImportConfig,
}
SETS_UP = ("make ", "pip install ", "source ")  # only looked up
# Libraries of blocks that are tried where these are installed.
OPTIONAL = ("torchrl", "skrl", "moviepy")
FOREIGN = ("tyro-write-completion", "help", "version")  # of the command itself
# Modules that blocks import, and the verbs.
HEAVY = [
    *("gymnasium", "pandas", "plotly.graph_objs", "plotly.io", "sb3_contrib", "torch._dynamo"),
    *("torchvision", "torchvision.models", "torchvision.transforms.v2"),
    *(
        f"focusgym.runs.verbs.{verb}"
        for verb in ("quickstart", "cache", "data", "fit", "compare", "replay")
    ),
    *(f"focusgym.runs.verbs.{verb}" for verb in ("recognize", "import_checkpoint")),
]


class Step(NamedTuple):
    """A block of Python, a block that is a file, or a command line."""

    kind: str
    text: str


def blocks(page: Path) -> list[tuple[str, str]]:
    """Language and content of each block of a page."""
    matches = re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    return [(language, content) for language, content in matches]


def prose(page: Path) -> str:
    return re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def words_of(command: str) -> list[str]:
    return shlex.split(command, comments=True)


def lines_of(script: str) -> list[str]:
    """Commands of a block, continued lines joined."""
    return [line for line in script.replace("\\\n", " ").splitlines() if words_of(line)]


def commands(page: Path) -> list[str]:
    return [
        line for language, block in blocks(page) if language == "sh" for line in lines_of(block)
    ]


def steps_of(page: Path) -> list[Step]:
    """What a reader does with a page, in order, once focusgym is installed."""
    steps = []
    missing = [name for name in OPTIONAL if importlib.util.find_spec(name) is None]
    for language, block in blocks(page):
        if language == "python" and any(name in block for name in missing):
            continue
        if language == "sh":
            steps += [Step("sh", x) for x in lines_of(block) if not x.startswith(SETS_UP)]
        elif language in ("python", "yaml"):
            steps.append(Step(language, block))
    return steps


def verb_of(text: str) -> str | None:
    """The verb of a command, or that a name in a sentence is."""
    words = text.split()
    words = words[1:] if words[0] == FOCUSGYM else words
    verbs = [verb for verb in CONFIGS if words[: len(verb.split())] == verb.split()]
    return verbs[0] if verbs else None


def execute(step: Step) -> str:
    """Do a step in this process, or a command of another program in bash; return what it prints."""
    if named := re.match(r"# (\w+\.\w+)\n", step.text):
        Path(named[1]).write_text(step.text)
    words = words_of(step.text) if step.kind == "sh" else []
    if words and words[0] == "torchrun":  # several processes have tests of their own
        words = words[words.index(FOCUSGYM) :]
    if words and words[0] != FOCUSGYM:
        ran = subprocess.run(["bash", "-c", step.text], capture_output=True, text=True)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        if step.kind == "python":
            exec(compile(step.text, "a block", "exec"), {"__name__": "__main__"})
        elif words:
            from focusgym.runs.cli import main

            sys.argv = ["focusgym", *words[1:], *shorter(words)]
            try:
                main()
            except SystemExit as end:
                if end.code:
                    raise
    return printed.getvalue()


def shorter(words: list[str]) -> list[str]:
    """More options, so that what a command trains is done sooner; of two the last counts."""
    if words[1:3] in (["fit", "end-to-end"], ["fit", "cubes"], ["fit", "afnet"]):
        return SHORT_TRAINING
    if words[1] == "train" and {"adafocus_v2", "adafocus_v3", "adafocus_tsm"} & {*words}:
        return SHORT_GRADIENT
    sets_length = {"--resume", "--epochs", "--decisions"} & {*words} or any(
        word.endswith(".yaml") for word in words
    )
    of_systems = SHORT_SYSTEMS.get(words[1], []) if "--decisions" in words else []
    encoding = words[1:3] in (["cache", "build"], ["fit", "encoder"], ["fit", "patches"])
    if words[1] == "replay" and not {"--videos", "--select"} & {*words}:
        return ["--count", "1"]
    return [
        *(SHORT_TRAINING if words[1] == "train" and not sets_length else SHORTER.get(words[1], [])),
        *(ENCODED if "outputs/table5" in words else []),
        *(SMALL_FRAMES if encoding and "clips" in words else []),
        *of_systems,
    ]


def in_short() -> None:
    """Change what makes documented commands slow and has tests of its own."""
    from focusgym.feature_cache.videos import digits
    from focusgym.recognizer import FrameConfig
    from focusgym.runs.executors.local import in_turn
    from focusgym.runs.verbs import compare, quickstart

    # MobileNet-V2 on 8 × 49 patches of each clip, and 200 epochs: less of everything here.
    clips, frames = quickstart.clips(), FrameConfig(steps=2, frame_px=64, resize_px=72)
    ppo, ppo_plus = (replace(each, epochs=4) for each in (clips.ppo, clips.ppo_plus))
    small = {"frames": frames, "patch_px": 32, "grid": 2, "hidden": 16}
    shorter = replace(clips, **small, ppo=ppo, ppo_plus=ppo_plus)
    quickstart.clips = lambda _: shorter

    make_digits = digits.make_digits
    few = {"n_train": 8, "n_val": 4, "n_test": 4}
    digits.make_digits = lambda config, root: make_digits(replace(config, **few), root)

    # Trainings in processes of their own, each of which imports torch again.
    compare.executor_of = lambda *_, **__: contextlib.nullcontext(in_turn)


def run_documents(folders: list[Path]) -> None:
    """Execute the steps in ``steps.json`` of each folder, and write what they print beside them."""
    for name in HEAVY:
        importlib.import_module(name)
    in_short()
    sys.path.insert(0, "")  # as for a script in the folder
    # As Stable-Baselines3 does where it is imported, of the progress bar that it offers.
    warnings.filterwarnings("ignore", "rich is experimental")

    def read(folder: Path) -> None:
        os.chdir(folder)
        printed = []
        for step in json.loads(Path("steps.json").read_text()):
            sys.stderr.write(f"\n>>> {step[1]}\n")
            printed.append(execute(Step(*step)))
        Path("printed.json").write_text(json.dumps(printed))

    for folder in folders:
        ends_of([begin(partial(read, folder), folder / "said")])
