"""Links where files are written, and archives with links: what they lead to stays as it is."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from focusgym.feature_cache import CacheError
from focusgym.feature_cache.building.writer import CacheWriter
from focusgym.feature_cache.reading.journal import Journal
from focusgym.recognizer.files.atomic import write_whole
from focusgym.runs.executors.transfer import OBJECT_STORE, Carrier
from focusgym.runs.executors.units import ExecutorError
from focusgym.runs.folders.atomic import OutputError, exclusive
from focusgym.runs.training.policy_run import learning_curve, new_logs
from focusgym.runs.training.tuning import TuningError
from focusgym.runs.verbs.tune import _preset_of

PRECIOUS = "precious\nand more\n"


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    (tmp_path / "victim").write_text(PRECIOUS)
    return tmp_path / "victim"


@pytest.mark.parametrize("name", ["file.partial", "file"])
def test_a_file_that_appears_whole(victim: Path, name: str) -> None:
    (victim.parent / name).symlink_to(victim)
    write_whole(victim.parent / "file", "new")
    assert victim.read_text() == PRECIOUS
    assert not (victim.parent / "file").is_symlink()
    assert (victim.parent / "file").read_text() == "new"
    assert not (victim.parent / "file.partial").is_symlink()
    assert sorted(each.name for each in victim.parent.iterdir()) == ["file", "victim"]


def test_a_journal(victim: Path) -> None:
    (victim.parent / "journal.jsonl").symlink_to(victim)
    with pytest.raises(OSError, match="it is a symbolic link, not a file"):
        Journal.read(victim.parent)
    assert victim.read_text() == PRECIOUS


@pytest.mark.parametrize("name", ["journal.jsonl", "glance.npy"])
def test_a_build(victim: Path, name: str) -> None:
    root = victim.parent / "cache"
    (victim.parent / "cache.partial").mkdir()
    (victim.parent / "cache.partial" / name).symlink_to(victim)
    shapes = {"glance": ((2,), np.dtype(np.float16))}
    with (
        pytest.raises(CacheError, match=f"{name} is a symbolic link, and builds write files"),
        CacheWriter(root, {"of": "this"}, shapes, 3),
    ):
        pass
    assert victim.read_text() == PRECIOUS


def test_a_lock(victim: Path) -> None:
    (victim.parent / ".lock").symlink_to(victim)
    with pytest.raises(OutputError), exclusive(victim.parent):
        pass
    assert victim.read_text() == PRECIOUS


def test_a_trial_whose_settings_are_a_link(victim: Path) -> None:
    """To what is no preset: its text is not copied into the best one."""
    run = victim.parent / "trials" / "0000" / "run"
    run.mkdir(parents=True)
    (run / "config.yaml").symlink_to(victim)
    with pytest.raises(TuningError, match=r"0000/run/config.yaml.*: remove .*0000, and the same"):
        _preset_of(victim.parent, 0, "fit classifier")


def _archive(fill: Callable[[tarfile.TarFile], None], format: int = tarfile.PAX_FORMAT) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=format) as tar:
        fill(tar)
    return content.getvalue()


def _add(
    tar: tarfile.TarFile, name: str, kind: bytes = tarfile.REGTYPE, to: str = "", **pax: str
) -> None:
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.pax_headers = kind, to, pax
    member.size = 3 * (kind == tarfile.REGTYPE)
    tar.addfile(member, io.BytesIO(b"hi\n"))


def _long_links(tar: tarfile.TarFile) -> None:
    """Names that are too long to be resolved, so that tarfile takes the link behind for harmless.

    The construction of CVE-2025-4517.
    """
    folder, long = "", "d" * 247
    steps = "abcdefghijklmnop"
    for step in steps:
        _add(tar, f"{folder}{long}", tarfile.DIRTYPE)
        _add(tar, f"{folder}{step}", tarfile.SYMTYPE, long)
        folder += f"{long}/"
    deep = "/".join(steps) + "/" + "l" * 254
    _add(tar, deep, tarfile.SYMTYPE, "../" * len(steps))
    _add(tar, "escape", tarfile.SYMTYPE, f"{deep}/../victim")
    _add(tar, "escape")


@pytest.mark.parametrize(
    "fill",
    [
        _long_links,
        lambda tar: _add(tar, "a", tarfile.SYMTYPE, "b"),
        lambda tar: _add(tar, "a", tarfile.LNKTYPE, "../victim"),
        lambda tar: _add(tar, "a", tarfile.FIFOTYPE),
        lambda tar: _add(
            tar,
            "a",
            **{
                "GNU.sparse.major": "0",
                "GNU.sparse.minor": "1",
                "GNU.sparse.size": f"{2**55}",
                "GNU.sparse.map": "0,1",
            },
        ),
    ],
    ids=["long", "symbolic", "hard", "pipe", "sparse"],
)
def test_an_archive(victim: Path, fill: Callable[[tarfile.TarFile], None]) -> None:
    with pytest.raises(ExecutorError, match="is neither a file nor a folder"):
        Carrier(OBJECT_STORE).unpack(_archive(fill), victim.parent / "out")
    assert victim.read_text() == PRECIOUS
    assert sum(each.lstat().st_size for each in (victim.parent / "out").rglob("a")) == 0


@pytest.mark.parametrize("pax", [{"mtime": "1e300"}, {"mtime": "inf"}, {"mtime": f"{2**70}"}])
def test_times_and_sizes_that_cannot_be(tmp_path: Path, pax: dict[str, str]) -> None:
    with pytest.raises(ExecutorError, match="of a unit came damaged"):
        Carrier(OBJECT_STORE).unpack(_archive(lambda tar: _add(tar, "a", **pax)), tmp_path / "out")


def test_what_links_lead_to_is_carried(victim: Path) -> None:
    folder = victim.parent / "folder"
    folder.mkdir()
    (folder / "a").symlink_to(victim)
    carrier = Carrier(OBJECT_STORE)
    carrier.unpack(carrier.pack(folder), victim.parent / "out")
    assert not (victim.parent / "out" / "a").is_symlink()
    assert (victim.parent / "out" / "a").read_text() == PRECIOUS


def test_logs_whose_name_is_no_number(tmp_path: Path) -> None:
    for name in ("²", "٣"):
        (tmp_path / "logs" / name).mkdir(parents=True)
        (tmp_path / "logs" / name / "progress.csv").write_text("time/total_timesteps\n1\n")
    assert new_logs(tmp_path) == tmp_path / "logs" / "1"
    with pytest.raises(OutputError):
        learning_curve(tmp_path)
