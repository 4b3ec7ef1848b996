"""The verb ``systems``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support import add_frames, write_cache

import focusgym
from focusgym.agents import find_system
from focusgym.agents.systems.registry import SYSTEMS
from focusgym.runs.cli import main
from focusgym.runs.comparison.systems import every_system

PACKAGE = Path(focusgym.__file__).parent


def test_each_system_has_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    main(["systems"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [*SYSTEMS]
    main(["systems", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["frameexit"]["settings"] == list(find_system("frameexit").settings)
    assert found["frameexit"]["knob"] == "price"
    assert found["gru"]["knob"] == ""
    arnet = [PACKAGE / "agents/systems/arnet.py", PACKAGE / "runs/presets/arnet.yaml"]
    lines = [path.read_bytes().count(b"\n") for path in arnet]
    assert [*found["arnet"]["lines"].values()] == lines


def test_all_systems_are_those_that_the_cache_serves(tmp_path: Path) -> None:
    """A cache of patches holds no whole frames."""
    write_cache(tmp_path / "cache", n=20)
    served, notes = every_system(tmp_path / "cache")
    assert "adafocus_v2" in served
    assert "gru" not in served
    (note,) = notes
    assert note.startswith("Left out of --systems all, for the cache has not what they read: ave")
    assert str(tmp_path) not in note
    left_out = note.split(": ")[1].split(". ")[0].split(", ")
    assert sorted([*served, *left_out]) == sorted(SYSTEMS)


def test_a_system_of_other_encoders_is_left_out(tmp_path: Path) -> None:
    """Whole frames at two sides by plain encoders are no precisions and no masks."""
    add_frames(write_cache(tmp_path / "cache", n=20))
    served, _ = every_system(tmp_path / "cache")
    assert "arnet" in served
    assert not {"videoiq", "adafuse", "tsm", "tsm_plus"} & {*served}
