"""Terminals that are not UTF-8: every verb prints to the end, and tables stay tables."""

from __future__ import annotations

import io
import os
import re
import sys
from pathlib import Path

import pytest
from kills import in_children
from recognizers import make_recognizer
from support import Literal
from verbs import Digits

from focusgym.runs.cli import main
from focusgym.runs.options.terminal import take_any_text

SMALL = ("--n-envs=6", "--minibatch=3", "--conv-channels=2", "--hidden=6", "--epochs=1")
NETWORKS = (
    *("--glance=small_glance", "--weights=small_glance=random", "--glance-px=12"),
    *("--group=patches:small_local:28:3", "--weights=small_local=random"),
)
# Commands, one after the other in one process, for the sake of time; then the quickstart's report.
CODE = """
import sys
from pathlib import Path
from focusgym.runs.cli import main
args = sys.argv[1:]
while args:
    end = args.index(";")
    command, args = args[:end], args[end + 1 :]
    print("##")
    try:
        main(command)
        print("status 0")
    except SystemExit as ended:
        print("status", ended.code)
from rich.console import Console
from focusgym.runs.configs.quickstart import QuickstartConfig
from focusgym.runs.evaluation.report import MEANINGS, print_places, print_table, results_table
rows = [
    {"name": name, "accuracy_by_step": [0.5, 0.75], "accuracy_interval": [0.4, 0.6],
     "kept_share": 1.0, "gmacs_per_video": 1.0}
    for name in MEANINGS
]
parity = {"prediction_agreement": 1.0, "max_abs_confidence_difference": 0.0}
results = {"steps": 2, "n_videos": 9, "policies": rows, "parity": parity}
print("##")
print_table(results, results_table(results), Console())
print_places(QuickstartConfig(out=Path("outputs")), Console())
"""


@pytest.fixture
def printed(tmp_path: Path, digits: Digits) -> dict[str, str]:
    """What each command prints in ASCII, by its name; folders, files and classes have any names."""
    root = tmp_path / "R\u00e4ume \u2013 \u90e8\u5c4b"
    Literal(root)
    recognizer = make_recognizer()
    recognizer.classes = ("d\u00e9j\u00e0 vu", "\u65e5\u672c", "\U0001f600", "plain")
    recognizer.save(root / "recognizer")
    (clip := root / "clip \u00e9.mp4").symlink_to(digits.clips[0].path)
    files = (f"--cache={root}/cache", f"--classifier={root}/classifier")
    commands: dict[str, list[object]] = {
        "train": ["train", root / "\u03c0", *files, *SMALL, "--plus"],
        "evaluate": ["evaluate", root / "\u03c0", "--keep-ratio=0.5"],
        "compare": ["compare", root / "c", "--runs", root / "\u03c0"],
        "cache build": ["cache", "build", root / "of videos", *digits.options, *NETWORKS],
        "cache info": ["cache", "info", root / "of videos"],
        "recognize": ["recognize", clip, f"--bundle={root}/recognizer", "--top=4"],
        "replay": ["replay", root / "nowhere \u2192"],
        "help": ["train", "--help"],
    }
    args = [str(each) for command in commands.values() for each in (*command, ";")]

    def act() -> None:
        os.chdir(tmp_path)
        for stream, errors in ((sys.stdout, "strict"), (sys.stderr, "backslashreplace")):
            assert isinstance(stream, io.TextIOWrapper)
            stream.reconfigure(encoding="ascii", errors=errors)  # as PYTHONIOENCODING does
        sys.argv = ["-c", *args]
        exec(CODE, {})

    ended = in_children(act)
    stderr = ended.err
    assert ended.codes == [0], stderr
    assert (ended.out + stderr).isascii()
    assert "Traceback" not in stderr
    _, *parts = re.split(r"^##\n", ended.out, flags=re.MULTILINE)
    return dict(zip((*commands, "quickstart", "said"), (*parts, stderr), strict=True))


def test_every_verb_prints_in_ascii(printed: dict[str, str]) -> None:
    """Lines of tables in ASCII, plain characters for the usual others, escapes for what is left."""
    root = r"R\xe4ume - \u90e8\u5c4b"
    for name, wanted in {
        "train": [
            r"\npolicy *\|",
            r"\n-+\+-+",
            r"\n\\u03c0 *\| ",
            rf"{re.escape(root)}/\\u03c0 ho",
        ],
        "evaluate": [r"\n\\u03c0 \\u03b7=0\.5 *\| ", r"\| +\d+\.\d-\d+\.\d\|", r"\nrandom *\| "],
        "compare": [r"increment_over_random \\u03b7=0\.5 *\|", r"index\.html has the plots"],
        "cache build": [rf"{re.escape(root)}/of videos is complete"],
        "cache info": [r"\nframes +2 of 64 px"],
        "recognize": [r"d\\xe9j\\xe0 vu \d", r"\\u65e5\\u672c \d", r"\\U0001f600 \d"],
    }.items():
        assert printed[name].endswith("status 0\n"), printed["said"]
        for pattern in wanted:
            assert re.search(pattern, printed[name]), (pattern, printed[name])
    assert printed["replay"].endswith("status 2\n")
    assert "focusgym: " in printed["said"]
    assert printed["help"].endswith("status 0\n")
    assert r"\u03bb of Eq. 10" in printed["help"]
    report = printed["quickstart"]
    assert r"gaussian            a patch near the centre, \u03c3 = S/4" in report
    assert r"each accuracy above is known to \xb127.2 points" in report


def test_utf8_is_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """But for names that are no text: they are escaped."""
    streams = [io.TextIOWrapper(io.BytesIO(), encoding=name) for name in ("utf-8", "latin-1")]
    monkeypatch.setattr(sys, "stdout", streams[0])
    monkeypatch.setattr(sys, "stderr", streams[1])
    take_any_text()
    texts = []
    for stream in streams:
        stream.write("σ – ± × ✓ → π′ \udcff\n")
        stream.flush()
        assert isinstance(stream.buffer, io.BytesIO)
        texts.append(stream.buffer.getvalue().decode(stream.encoding))
    assert texts == ["σ – ± × ✓ → π′ \\udcff\n", "\\u03c3 - ± × + > \\u03c0' \\udcff\n"]


def test_a_name_that_the_environment_cannot_have(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not of output, but of files, such as those that a run's settings name."""

    def named(config: object) -> None:
        "R\u00e4ume".encode("ascii")

    monkeypatch.setattr("focusgym.runs.verbs.evaluate.evaluate", named)
    with pytest.raises(SystemExit) as caught:
        main(["evaluate", "run"])
    assert caught.value.code == 2
    assert capsys.readouterr().err == (
        "focusgym: 'R\\xe4ume' cannot be named in the encoding ascii of this environment: set "
        "PYTHONUTF8=1\n"
    )
