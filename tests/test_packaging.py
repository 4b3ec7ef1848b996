"""What is installed is what is there."""

from __future__ import annotations

import configparser
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.version import Version

ROOT = Path(__file__).parents[1]
ROOMS = ["recognizer", "feature_cache", "envs", "agents", "runs"]


def setup_cfg() -> configparser.ConfigParser:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    return config


def folders_with_code() -> list[str]:
    inits = (path for room in ROOMS for path in (ROOT / room).rglob("__init__.py"))
    return sorted(".".join(path.parent.relative_to(ROOT).parts) for path in inits)


def test_every_folder_is_packaged_and_mapped() -> None:
    options = setup_cfg()["options"]
    expected = ["focusgym", *(f"focusgym.{name}" for name in folders_with_code())]
    assert sorted(options["packages"].split()) == expected
    assert options["package_dir"].strip() == "focusgym = ."
    assert not (ROOT / "focusgym").exists(), "the repository itself is the package focusgym"


def test_the_oldest_libraries_are_those_that_setup_cfg_allows() -> None:
    config, floor = setup_cfg(), r"(?m)^([\w-]+)[>=]=([\d.]+)"
    needed = re.findall(floor, config["options"]["install_requires"])
    dev = re.findall(floor, config["options.extras_require"]["dev"])
    oldest = re.findall(floor, (ROOT / "tests" / "oldest.txt").read_text())
    assert {name for name, _ in needed} <= {name for name, _ in oldest}
    allowed = {name: Version(version) for name, version in needed + dev}
    assert {name: Version(version) for name, version in oldest} == {
        name: allowed[name] for name, _ in oldest
    }


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imported_by_its_folder_name_says_what_to_do(room: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", f"import {room}"], cwd=ROOT, capture_output=True, text=True
    )
    assert ran.returncode != 0
    assert f"./{room} is the package focusgym.{room}: run `pip install -e .`" in ran.stderr


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_from_lower_floors(room: str) -> None:
    above = ROOMS[ROOMS.index(room) + 1 :]
    for path in (ROOT / room).glob("**/*.py"):
        for line in path.read_text().splitlines():
            for other in above:
                assert not line.lstrip().startswith((f"from ..{other}", f"from ...{other}")), path


@pytest.mark.parametrize("room", ROOMS)
def test_what_a_room_exports_exists_and_is_documented(room: str) -> None:
    module = importlib.import_module(f"focusgym.{room}")
    for name in getattr(module, "__all__", []):
        assert getattr(module, name).__doc__, f"{room}.{name} has no docstring"
