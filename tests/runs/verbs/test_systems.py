"""The verb ``systems``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support import L, enter_group, write_cache

import focusgym
from focusgym.agents import find_system
from focusgym.agents.systems.registry import SYSTEMS
from focusgym.recognizer import OptionGroup, WholeFrame
from focusgym.runs.cli import main
from focusgym.runs.comparison.systems import every_system
from focusgym.runs.configs.compare import ClassifierFitConfig, CompareConfig
from focusgym.runs.configs.train import PolicyTrainingConfig, SkipConfig
from focusgym.runs.options.systems import groups_of_system
from focusgym.runs.verbs.systems import OWN_FILES

PACKAGE = Path(focusgym.__file__).parent


def test_each_system_has_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    main(["systems"])
    lines = capsys.readouterr().out.splitlines()
    beside = ["end_to_end", "cubes", "afnet"]
    assert [line.split()[0] for line in lines] == ["adafocus", "adafocus_plus", *SYSTEMS, *beside]
    assert lines[1].endswith(": focusgym train OUT --plus")
    main(["systems", "--json"])
    systems = json.loads(capsys.readouterr().out)
    assert systems["frameexit"]["settings"] == list(find_system("frameexit").settings)
    assert systems["frameexit"]["knob"] == "price"
    assert systems["gru"]["knob"] == ""
    assert systems["gru"]["command"] == "focusgym train OUT --preset gru"
    arnet = ("agents/systems/arnet.py", "runs/presets/arnet.yaml", "envs/tasks/resolutions.py")
    lines = [(PACKAGE / path).read_bytes().count(b"\n") for path in arnet]
    assert [*systems["arnet"]["lines"].values()] == lines
    assert systems["lite_eval"]["lines"]["own"] == 0, "its environment is there for AR-Net"
    assert systems["adafocus_v2_sac"]["lines"] == systems["adafocus_v2_ppo"]["lines"]
    assert all(systems[name]["lines"]["own"] for name in ("adaframe", "ocsampler", "frameexit"))
    of_two = [PACKAGE / "agents/attention.py", PACKAGE / "recognizer/policies/attention.py"]
    lines = [path.read_bytes().count(b"\n") for path in of_two]
    assert systems["listentolook"]["lines"]["own"] == sum(lines)
    assert systems["afnet"]["lines"].keys() == {"own"}


def test_files_that_are_counted_are_there() -> None:
    for patterns in OWN_FILES.values():
        assert all([*PACKAGE.glob(pattern)] for pattern in patterns), patterns


def config_of(cache: Path) -> CompareConfig:
    parts = PolicyTrainingConfig(), SkipConfig(), ClassifierFitConfig()
    return CompareConfig(Path("out"), *parts, cache=cache)


def test_all_systems_are_those_that_the_cache_serves(tmp_path: Path) -> None:
    """A cache of patches holds no whole frames."""
    write_cache(tmp_path / "cache", n=20)
    served, notes = every_system(config_of(tmp_path / "cache"))
    assert "adafocus_v2" in served
    assert "gru" not in served
    (note,) = notes
    assert note.startswith("Left out of --systems all, for the cache has not what they read: ave")
    assert str(tmp_path) not in note
    left_out = note.split(": ")[1].split(". ")[0].split(", ")
    assert sorted([*served, *left_out]) == sorted(SYSTEMS)


def test_each_system_reads_encoders_of_its_kind(tmp_path: Path) -> None:
    """Of one cache: plain networks, few bits beside the same in full, profiles; none shifts."""
    root = write_cache(tmp_path / "cache", n=20).root
    manifest = json.loads((root / "manifest.json").read_text())
    sides = {"net": 32, "other": 16, "net_4bit": 32, "net_2bit": 32}
    sides |= {"net_reuse0": 32, "net_reuse50_skip25": 32}
    for i, (network, side) in enumerate(sides.items()):
        manifest["encoders"][network] = {**manifest["encoders"]["local"], "name": network}
        enter_group(root, manifest, OptionGroup(network, WholeFrame(32, side), network, L, 9 - i))
    served, _ = every_system(config_of(root))
    assert {"gru", "arnet", "videoiq", "adafuse"} < {*served}
    assert not {"tsm", "tsm_plus"} & {*served}
    reads = {
        name: [*groups_of_system(find_system(name), root, ())]
        for name in ("gru", "arnet", "videoiq", "adafuse")
    }
    assert reads == {
        "gru": ["net"],
        "arnet": ["net", "other"],
        "videoiq": ["net", "net_4bit", "net_2bit"],
        "adafuse": ["net_reuse0", "net_reuse50_skip25"],
    }
