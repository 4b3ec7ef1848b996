"""README and docs: every block runs, and what is shown is what is printed."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from doc_pages import PAGES, ROOT, blocks, run_documents, steps_of
from kills import in_children


@pytest.fixture(scope="module")
def yours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the pages say a user has: clips with lists, weights, checkpoints.

    The clips have another size, and more frames, than the videos of the quickstart.
    """
    import torch
    from released_afnet_files import checkpoint_afnet, released_afnet
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
        torch.save(checkpoint_afnet(released_afnet(2, 5)), root / "ckpt.best.pth.tar")
    return root


@pytest.fixture(scope="module")
def folders(
    yours: Path, tiny_run: tuple[Path, Any], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """Execute all pages, each in a folder of its own; return the folders."""
    roots = {}
    for page in PAGES:
        roots[page.name] = root = tmp_path_factory.mktemp(page.stem)
        (root / "outputs").mkdir()
        (root / "outputs" / "quickstart").symlink_to(tiny_run[0])
        for entry in yours.iterdir():
            (root / entry.name).symlink_to(entry)
        (root / "steps.json").write_text(json.dumps(steps_of(page)))
    # What a page begins goes on, or is found complete, on another page with the same command.
    for page, name, first, folder in (
        ("compare.md", "table5", "README.md", "table5"),
        ("your-data.md", "clips", "recognize.md", "gestures"),
    ):
        (roots[page] / "outputs" / name).symlink_to(roots[first] / "outputs" / folder)

    def read() -> None:
        path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
        os.environ.update(PATH=path, COLUMNS="100")
        run_documents([*roots.values()])

    ended = in_children(read)
    assert ended.codes == [0], ended.err
    return roots


def printed(folders: dict[str, Path], page: str, begins: str) -> str:
    """Return what the step printed that begins so, or has such a line."""
    root = folders[page]
    steps = json.loads((root / "steps.json").read_text())
    outputs = json.loads((root / "printed.json").read_text())
    (output,) = (out for (_, text), out in zip(steps, outputs, strict=True) if begins in text)
    return str(output)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_runs(page: Path, folders: dict[str, Path]) -> None:
    root = folders[page.name]
    assert (root / "printed.json").is_file(), (root / "said.err").read_text()[-4000:]


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
        output = printed(folders, "train.md", line)

        def form(text: str) -> list[str]:
            masked = re.sub(r"on \d+ videos", "on N videos", text)
            return [re.sub(r"─+|\d[\d.]*", "0", " ".join(x.split())) for x in masked.splitlines()]

        assert form(shown) == form(output)


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
