"""What bash completes for ``focusgym``, with the script that the command itself prints."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PRINT = "from focusgym.runs.cli import main; main(['--tyro-print-completion', 'bash'])"
# As readline does: the words of the line, and which one of them the cursor is in.
COMPLETE = """
source "$1"
shift
COMP_WORDS=(focusgym "$@")
COMP_CWORD=$#
$(complete -p focusgym | sed 's/.*-F \\([^ ]*\\) .*/\\1/')
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("bash") is None:
        pytest.skip("there is no bash here")
    ran = subprocess.run([sys.executable, "-c", PRINT], capture_output=True, text=True, check=True)
    path = tmp_path_factory.mktemp("completion") / "focusgym.bash"
    path.write_text(ran.stdout)
    return path


def completed(script: Path, line: str, folder: Path) -> list[str]:
    """Return what is offered for the last word of a line, which begins after the command."""
    command = ["bash", "--norc", "--noprofile", "-c", COMPLETE, "bash", script, *line.split(" ")]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=True)
    assert not ran.stderr
    return ran.stdout.splitlines()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("rec", ["recognize"]),
        ("im", ["import-checkpoint"]),
        ("sys", ["systems"]),
        ("cache b", ["build"]),
        ("fit p", ["patches"]),
        ("data digit-", ["digit-pairs"]),
        ("data digit-pairs out --n-f", ["--n-frames"]),
        ("recognize --prec", ["--precision"]),
        ("recognize a.mp4 b.mp4 --bundle out --an", ["--annotate"]),
        ("recognize --precision ", ["float32", "bfloat16", "float16"]),
        ("recognize --precision b", ["bfloat16"]),
        ("cache build out --glance-p", ["--glance-px"]),
        ("quickstart --json --se", ["--seed"]),
        ("recognize --nothing-like-this", [""]),
    ],
)
def test_verbs_options_and_choices_are_completed(
    script: Path, tmp_path: Path, line: str, offered: list[str]
) -> None:
    assert completed(script, line, tmp_path) == offered


def test_all_verbs_of_cache_are_offered(script: Path, tmp_path: Path) -> None:
    offered = completed(script, "cache ", tmp_path)
    assert {"plan", "build", "verify", "info", "merge"} <= set(offered)


def test_files_are_completed_where_an_option_takes_one(script: Path, tmp_path: Path) -> None:
    for name in ("weights.pth", "weights.safetensors", "other.txt"):
        (tmp_path / name).touch()
    completions = completed(script, "quickstart --weights we", tmp_path)
    assert sorted(completions) == ["weights.pth", "weights.safetensors"]


def test_no_help_text_is_broken_in_the_middle() -> None:
    """A line that begins with a sign stays a line of its own, which completion takes for a word."""
    for path in (ROOT / "runs" / "configs").glob("*.py"):
        assert not re.findall(r"^ {12}[^A-Za-z0-9 ].*$", path.read_text(), re.MULTILINE), path.name
