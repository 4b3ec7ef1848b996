"""README and docs: every block runs, what is named exists, what is shown is what is printed.

Run as a program, with folders, it executes the document of each: their imports are done once.
"""

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
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from focusgym.runs.configs.cache import CacheInfoConfig, CacheMergeConfig, CacheVerifyConfig
from focusgym.runs.configs.evaluate import EvaluateConfig
from focusgym.runs.configs.import_checkpoint import ImportConfig
from focusgym.runs.configs.quickstart import QuickstartConfig
from focusgym.runs.configs.recognize import RecognizeConfig
from focusgym.runs.configs.replay import ReplayConfig
from focusgym.runs.options.presets import VERBS, options_of

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FOCUSGYM = "focusgym"
# The documented command trains 60 policies, which takes minutes even on small data: what is
# documented is tried with one seed, one patch size, which has to be encoded, and short trainings.
# See also `in_short`.
SHORTER = {"compare": shlex.split("--seeds 1 --patch 20 --epochs 1 --fit-epochs 1")}
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
    "cache verify": CacheVerifyConfig,
    "cache info": CacheInfoConfig,
    "cache merge": CacheMergeConfig,
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
    *("gymnasium", "pandas", "sb3_contrib", "torch._dynamo", "torchvision"),
    *(
        f"focusgym.runs.verbs.{verb}"
        for verb in ("quickstart", "cache", "fit", "compare", "replay")
    ),
    *(f"focusgym.runs.verbs.{verb}" for verb in ("recognize", "import_checkpoint")),
]


class Step(NamedTuple):
    """A block of Python, a block that is a file, or a command line."""

    kind: str
    text: str


def blocks(page: Path) -> list[tuple[str, str]]:
    """Language and content of each block of a page."""
    found = re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    return [(language, content) for language, content in found]


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
    found = [verb for verb in CONFIGS if words[: len(verb.split())] == verb.split()]
    return found[0] if found else None


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
    if words[1:3] == ["fit", "end-to-end"]:
        return SHORT_TRAINING
    if words[1] == "train" and "adafocus_v2" in words:
        return SHORT_GRADIENT
    says = {"--resume", "--epochs", "--decisions"} & {*words} or any(
        word.endswith(".yaml") for word in words
    )
    of_systems = SHORT_SYSTEMS.get(words[1], []) if "--decisions" in words else []
    return [
        *(SHORT_TRAINING if words[1] == "train" and not says else SHORTER.get(words[1], [])),
        *of_systems,
    ]


def in_short() -> None:
    """Change what makes documented commands slow and has tests of its own."""
    from focusgym.recognizer import FrameConfig
    from focusgym.runs.comparison import grid, systems
    from focusgym.runs.verbs import quickstart

    # MobileNet-V2 on 8 × 49 patches of each clip, and 200 epochs: less of everything here.
    clips, frames = quickstart.clips(), FrameConfig(steps=2, frame_px=64, resize_px=72)
    ppo, ppo_plus = (replace(each, epochs=4) for each in (clips.ppo, clips.ppo_plus))
    small = {"frames": frames, "patch_px": 32, "grid": 2, "hidden": 16}
    shorter = replace(clips, **small, ppo=ppo, ppo_plus=ppo_plus)
    quickstart.clips = lambda: shorter

    # Trainings in processes of their own, each of which imports torch again.
    def here(function: Callable[..., None], calls: Mapping[str, Any], *_: object) -> None:
        for given in calls.values():
            function(*given)

    grid.in_processes = systems.in_processes = here


def run_documents(folders: list[Path]) -> None:
    """Execute the steps in ``steps.json`` of each folder, and write what they print beside them."""
    for name in HEAVY:
        importlib.import_module(name)
    in_short()
    sys.path.insert(0, "")  # as for a script in the folder
    warnings.filterwarnings("ignore", ".*fork", DeprecationWarning)
    for folder in folders:
        child = os.fork()  # nothing was computed yet, so no thread is lost
        if child:
            os.waitpid(child, 0)
            continue
        os.chdir(folder)
        with Path("errors.txt").open("w", buffering=1) as errors:
            os.dup2(errors.fileno(), 2)
        printed = []
        for step in json.loads(Path("steps.json").read_text()):
            sys.stderr.write(f"\n>>> {step[1]}\n")
            printed.append(execute(Step(*step)))
        Path("printed.json").write_text(json.dumps(printed))
        os._exit(0)


@pytest.fixture(scope="module")
def yours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the pages say a user has: clips with lists, weights, a checkpoint.

    The clips have another size, and more frames, than the videos of the quickstart.
    """
    import torch
    from released_files import checkpoint_after_stage_two, encoder_entries
    from torchvision.models import mobilenet_v2
    from video_files import write_video

    root = tmp_path_factory.mktemp("yours")
    lists: dict[str, list[str]] = {"train": [], "val": []}
    for label, name in enumerate(("wave", "clap")):
        (root / "clips" / name).mkdir(parents=True)
        for i, split in enumerate(("train", "train", "val")):
            write_video(root / "clips" / name / f"{i}.mp4", n=20 + i)
            lists[split].append(f"{name}/{i}.mp4 {20 + i} {label}")
    for split, lines in lists.items():
        (root / "clips" / f"{split}.txt").write_text("\n".join(lines))
    (root / "clips" / "classes.txt").write_text("wave\nclap\n")
    (root / "classes.txt").write_text("\n".join("abcde"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        torch.save(mobilenet_v2(weights=None).state_dict(), root / "mobilenet_v2.pth")
        checkpoint = checkpoint_after_stage_two(encoder_entries(), hidden=8, classes=5)
        torch.save(checkpoint, root / "actnet_128.pth.tar")
    return root


@pytest.fixture(scope="module")
def folders(
    yours: Path, tiny_run: tuple[Path, Any], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """Execute all pages, each in a folder of its own; return the folders."""
    found = {}
    for page in PAGES:
        found[page.name] = root = tmp_path_factory.mktemp(page.stem)
        (root / "outputs").mkdir()
        (root / "outputs" / "quickstart").symlink_to(tiny_run[0])
        for given in yours.iterdir():
            (root / given.name).symlink_to(given)
        (root / "steps.json").write_text(json.dumps(steps_of(page)))
    # The page on comparisons goes on with the one that the README begins, by the same command.
    table5 = found["README.md"] / "outputs" / "table5"
    (found["compare.md"] / "outputs" / "table5").symlink_to(table5)
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    environment: dict[str, str] = {**os.environ, **threads, "PATH": path, "COLUMNS": "100"}
    command = [sys.executable, "-W", "error", __file__, *map(str, found.values())]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return found


def printed(folders: dict[str, Path], page: str, begins: str) -> str:
    """Return what the step printed that begins so, or has such a line."""
    root = folders[page]
    steps = json.loads((root / "steps.json").read_text())
    outputs = json.loads((root / "printed.json").read_text())
    (found,) = (out for (_, text), out in zip(steps, outputs, strict=True) if begins in text)
    return str(found)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_runs(page: Path, folders: dict[str, Path]) -> None:
    root = folders[page.name]
    assert (root / "printed.json").is_file(), (root / "errors.txt").read_text()[-4000:]


def test_what_blocks_print(folders: dict[str, Path], tiny_run: tuple[Path, Any]) -> None:
    assert printed(folders, "README.md", "import gymnasium").count("confidence") == 6
    playing = printed(folders, "other-libraries.md", "policy = read_policy")
    assert re.fullmatch(r"(\[.*\] confidence [01]\.\d\d, reward [+-]\d\.\d\d\n){6}", playing)
    learning = printed(folders, "other-libraries.md", "MaskablePPO(")
    assert re.search(r"gmacs: 0\.0\d+\ncorrect: [01]\.\d+", learning)
    assert re.search(
        r"options used: \d+ of 49", printed(folders, "other-libraries.md", "ModelAgent(")
    )
    assert re.search(r"\[[\d ]+\]", printed(folders, "other-libraries.md", "FocusPPO("))
    assert (folders["other-libraries.md"] / "policy" / "weights.safetensors").is_file()
    assert "mean regret tensor" in printed(folders, "other-libraries.md", "mean regret")
    assert re.search(r"ρ = [01]\.\d+, \d+% kept", printed(folders, "train.md", "PlusTraining("))
    assert "6 pictures" in printed(folders, "replay.md", "render_record(")
    recognizing = printed(folders, "recognize.md", "recognizer.stream()")
    assert re.search(r"\d\.\d+ MMACs\n(\d (True|False)\n){6}$", recognizing)
    rewards = printed(folders, "your-reward.md", "LogGain(0.01)").split()
    assert len(rewards) == 3 * 6
    assert all(abs(float(each)) < 5 for each in rewards)
    assert rewards[:5] == ["+0.000"] * 5, "at the end"
    assert printed(folders, "your-reward.md", "to_json()") == "True\n"
    exits = printed(folders, "environments.md", "play_task(")
    assert re.fullmatch(r"decisions +[1-6]\.\d+\ngmacs +0\.\d+\ncorrect +[01]\.\d+\n", exits)
    on_pixels = printed(folders, "environments.md", "TaskRecognizer(").splitlines()
    assert len(on_pixels) == 2, "batches of the 20 videos"
    assert all(re.fullmatch(r"\[[\d, ]+\] \[[\d, ]+\] 0\.0\d+", line) for line in on_pixels)
    table = printed(folders, "other-libraries.md", "focusgym evaluate").splitlines()
    assert [line.split()[0] for line in table[3:]] == ["sb3_ppo", "random", "central", "gaussian"]
    table = printed(folders, "adafocus-v2.md", "focusgym evaluate outputs/centers").splitlines()
    names = [re.split(r" {2,}", line)[0] for line in table[3:]]
    assert names[:3] == ["centers", "centers on pixels", "policy"]
    assert printed(folders, "your-encoder.md", "encoder_gmacs(").startswith("(2, 1280, 4, 4) 1280")
    assert "32 channels" in printed(folders, "your-encoder.md", "my_networks:two_layers")


@pytest.mark.parametrize(
    ("page", "block"),
    [("concepts.md", "PatchGrid("), ("equations.md", "increment_over_random(p")],
)
def test_a_page_shows_what_its_block_prints(
    page: str, block: str, folders: dict[str, Path]
) -> None:
    (shown,) = re.findall(r"[Ii]t prints `(.*?)`", (ROOT / "docs" / page).read_text())
    assert printed(folders, page, block).splitlines()[0] == shown


def test_tables_that_are_shown_are_of_the_form_that_is_printed(folders: dict[str, Path]) -> None:
    """Figures are those of the real data; names, columns and what is said stay."""
    tables = [block for _, block in blocks(ROOT / "docs" / "train.md") if "accuracy (%)" in block]
    lines = ["focusgym train outputs/first --preset", "focusgym evaluate outputs/plus"]
    for shown, line in zip(tables, lines, strict=True):
        found = printed(folders, "train.md", line)

        def form(text: str) -> list[str]:
            said = re.sub(r"on \d+ videos", "on N videos", text)
            return [re.sub(r"─+|\d[\d.]*", "0", " ".join(x.split())) for x in said.splitlines()]

        assert form(shown) == form(found)


def test_outputs_that_pages_name_are_there(folders: dict[str, Path]) -> None:
    for page, table, root in (
        ("train.md", "The run's folder", "outputs/first"),
        ("replay.md", "Replay episodes", "outputs/episodes"),
        ("compare.md", "The whole table", "outputs/table5"),
    ):
        section = re.split(r"^#+ ", (ROOT / "docs" / page).read_text(), flags=re.MULTILINE)
        (text,) = (each for each in section if each.startswith(table))
        named = re.findall(r"^\| ((?:`[^`]+`(?:, )?)+) \|", text, re.MULTILINE)
        files = [name for row in named for name in re.findall(r"`([^`]+)`", row)]
        assert len(files) >= 5
        for name in files:
            pattern = re.sub(r"[A-Z]{3,}|N\b", "*", name)
            assert list((folders[page] / root).glob(pattern)), f"{page}: {name}"


def test_no_two_pages_make_one_folder() -> None:
    """Who follows the pages in any order is never refused: a folder that exists is not touched."""
    # The quickstart's is given, and a comparison that is asked for again goes on with what it has.
    shared = {"quickstart", "table5"}
    pages: dict[str, set[str]] = {}
    for page in PAGES:
        for language, block in blocks(page):
            for name in re.findall(r"outputs/(\w+)", block) if language else []:
                pages.setdefault(name, set()).add(page.name)
    assert len(pages) > 30
    assert {name: found for name, found in pages.items() if len(found) > 1}.keys() <= shared
    compare = f"{FOCUSGYM} compare outputs/table5 --preset digits"
    assert all(compare in PAGES_BY[name].read_text() for name in ("README", "compare"))


def test_blocks_are_short() -> None:
    for page in PAGES:
        for language, block in blocks(page):
            assert language != "python" or len(block.strip().splitlines()) <= 15, block
            assert language in ("python", "sh", "yaml", "mermaid", ""), page


def slug(heading: str) -> str:
    """The anchor that a heading gets."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def test_links_lead_somewhere() -> None:
    n_links = 0
    for page in PAGES:
        for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
            if target.startswith("https://"):
                continue
            n_links += 1
            name, _, anchor = target.partition("#")
            path = (page.parent / name).resolve() if name else page
            assert path.exists(), f"{page.name}: {target}"
            if anchor:
                headings = re.findall(r"^#+ (.*)$", prose(path), re.MULTILINE)
                assert anchor in map(slug, headings), f"{page.name}: {target}"
    assert n_links > 50
    readme = (ROOT / "README.md").read_text()
    assert all(f"(docs/{page.name})" in readme for page in PAGES[1:])


def attribute(path: str, name: str) -> Any:
    """What a module of the repository has under a name, such as ``Class.method``."""
    found = importlib.import_module(f"focusgym.{path.removesuffix('.py').replace('/', '.')}")
    for part in name.split("."):
        found = getattr(found, part)
    return found


def test_code_that_pages_name_exists() -> None:
    rows = re.findall(
        r"^\| .* \| \[(.*\.py)\]\(.*\) \| (.*) \|$", prose(PAGES_BY["equations"]), re.M
    )
    assert len(rows) > 30
    for path, names in rows:
        for name in re.findall(r"`([\w.]+)`", names):
            assert attribute(path, name), f"{path}: {name}"
    choices = prose(PAGES_BY["choices"])
    found = re.findall(r"((?:`\w[\w.]*`(?:, )?)+) in ([\w/]+\.py)", choices)
    assert len(found) >= 15
    for names, path in found:
        for name in re.findall(r"`([\w.]+)`", names):
            assert attribute(path, name), f"{path}: {name}"
    for path in re.findall(r"\b[a-z_]+/[\w/]+\.py", choices):
        assert (ROOT / path).is_file(), path


def test_options_that_pages_name_exist() -> None:
    """In a command, those of its verb; in a sentence, those of a verb that the page is about."""
    known = {verb: set(options_of(config)) for verb, config in CONFIGS.items()}
    n_options = 0
    for page in PAGES:
        spans = re.findall(r"`([^`]+)`", re.sub(r"\s+", " ", prose(page)))
        lines = [command for command in commands(page) if words_of(command)[0] == FOCUSGYM]
        verbs = {verb for text in (*spans, *lines) if (verb := verb_of(text))} or known.keys()
        for text in (*spans, *lines):
            verb = verb_of(text) if "focusgym " in text else None
            for option in re.findall(r"(?<![\w-])--([a-z][\w-]*)", text):
                n_options += 1
                name = option.removeprefix("no-")
                of = {verb} if verb else verbs if page.stem != "choices" else known.keys()
                fits = [v for v in of if {name, option} & known[v]]
                assert fits or option in FOREIGN, f"{page.name}: --{option} in {text!r}"
    assert n_options > 150


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for page in PAGES:
        for target in re.findall(r"(?:^|`)make (\w+)", page.read_text(), re.MULTILINE):
            assert f"\n{target}:" in makefile


def test_extras_that_are_installed_exist() -> None:
    setup = (ROOT / "setup.cfg").read_text()
    for page in PAGES:
        for extra in re.findall(r"pip install .*\.\[(\w+)\]", page.read_text()):
            assert f"\n{extra} =\n" in setup


def test_figures_in_the_readme_are_those_of_the_benchmarks() -> None:
    table = (ROOT / "README.md").read_text().partition("## In figures")[2].partition("## ")[0]
    figures = re.findall(r"\| ([^|]*\d)\s*\|$", table, re.MULTILINE)
    assert len(figures) == 7
    measured = (ROOT / "docs" / "benchmarks.md").read_text()
    for figure in ";".join(figures).split(";"):
        assert f"| {figure.strip()} |" in measured, figure


if __name__ == "__main__":
    run_documents([Path(name) for name in sys.argv[1:]])
